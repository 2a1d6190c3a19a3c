"""The interface of insight providers: transcripts in, findings out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from echoic.protocol.frames import ActionItem

__all__ = [
    "ActionItem",
    "Findings",
    "InsightFailed",
    "InsightProvider",
    "InsightStage",
    "TranscriptSegment",
]

#: ``live``: while the stream runs; ``final``: after a commit, about everything since the previous commit.
InsightStage = Literal["live", "final"]


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A final that has words."""

    segment_id: int
    text: str
    #: Seconds on the session's clock.
    start: float
    #: Seconds on the session's clock.
    end: float
    #: The speaker's label, or None if unknown.
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """The content of an insight. An empty list means that nothing was found, not that there was nothing."""

    #: Sentences, in the order of the talk.
    summary: tuple[str, ...] = ()
    action_items: tuple[ActionItem, ...] = ()
    #: One sentence per decision.
    decisions: tuple[str, ...] = ()
    #: The most important first.
    topics: tuple[str, ...] = ()


class InsightFailed(Exception):
    """An insight could not be made.

    Args:
        message: The reason, as a sentence for the client's user.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InsightProvider(Protocol):
    """Summarizes transcripts; shared by all sessions and without state of any."""

    @property
    def name(self) -> str:
        """The value of ``provider`` in insight frames."""

    @property
    def model(self) -> str:
        """The value of ``model`` in insight frames."""

    @property
    def max_bytes(self) -> int:
        """The maximum length of a transcript, in bytes of UTF-8."""

    def warm_up(self) -> None:
        """Load lazily imported modules now; blocks. Otherwise ``summarize`` loads them in a thread."""

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
        """Summarize a part of a transcript; may be cancelled at any time.

        Args:
            segments: Consecutive segments, at least one, with at most ``max_bytes`` of text.
            stage: The stage of the insight.

        Raises:
            InsightFailed: The provider has no result.
        """

    async def close(self) -> None:
        """Release connections; the provider is not used afterwards."""

"""The seam to whatever finds out what a talk comes down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from echoic.protocol.frames import ActionItem

__all__ = ["ActionItem", "Findings", "InsightFailed", "InsightProvider", "InsightStage", "TranscriptSegment"]

#: ``live``: while the talk goes on; ``final``: after a commit, about everything since the one before.
InsightStage = Literal["live", "final"]


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A final with words in it.

    Attributes:
        segment_id: Its id.
        text: What was said.
        start: Seconds on the session's clock at which its segment begins.
        end: And ends.
        speaker: The label of who spoke, or None: nobody knows.
    """

    segment_id: int
    text: str
    start: float
    end: float
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found; each may be empty, which says that nothing was found and no more.

    Attributes:
        summary: Sentences, in the order of the talk.
        action_items: What is to be done, and by whom.
        decisions: What was decided, a sentence each.
        topics: What it was about, the weightiest first.
    """

    summary: tuple[str, ...] = ()
    action_items: tuple[ActionItem, ...] = ()
    decisions: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()


class InsightFailed(Exception):
    """Findings that could not be had.

    Args:
        message: Why, in a sentence of ours for the person at the client.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InsightProvider(Protocol):
    """Finds out what a talk comes down to; one for all sessions, so it keeps nothing of any."""

    @property
    def name(self) -> str:
        """The ``provider`` of insights."""

    @property
    def model(self) -> str:
        """Their ``model``."""

    @property
    def max_bytes(self) -> int:
        """The most of a talk that it reads at once, in bytes of UTF-8."""

    def warm_up(self) -> None:
        """Load what it needs, if that was not done; blocks, and ``summarize`` does it by itself in a thread."""

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:
        """Return what was found in a stretch of talk; may be cancelled at any time.

        Args:
            segments: What was said, in order, at least one; not more than ``max_bytes``.
            stage: What for.

        Raises:
            InsightFailed: It could not be had.
        """

    async def close(self) -> None:
        """Give back what it holds; nothing is asked of it afterwards."""

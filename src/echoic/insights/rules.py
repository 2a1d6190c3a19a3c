"""Insights by rules and counts, without a language model."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.insights.base import Findings, InsightStage, TranscriptSegment

#: Bytes of talk that are looked at: some four hours.
_MAX_BYTES: Final = 250_000
#: Its lists of words take a while to load.
_NOTES_MODULE: Final = "echoic.insights.notes"


class RuleProvider:
    """Finds by rules and counts: what it gives is quoted, and what is not sure is left out."""

    name: Final = "rules"
    model: Final = "extractive"
    max_bytes: Final = _MAX_BYTES

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(1)

    def warm_up(self) -> None:
        """See ``Provider.load``."""
        import_module(_NOTES_MODULE)

    async def summarize(self, segments: Sequence[TranscriptSegment], stage: InsightStage) -> Findings:  # noqa: ARG002  # the Protocol's
        """See ``Provider.distil``; computed in a thread, one talk at a time."""
        async with self._semaphore:
            return await asyncio.to_thread(_find_in_segments, segments)

    async def close(self) -> None:
        """See ``Provider.close``."""


def _find_in_segments(segments: Sequence[TranscriptSegment]) -> Findings:
    found: Findings = import_module(_NOTES_MODULE).notes(segments)
    return found

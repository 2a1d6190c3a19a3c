"""Insights by rules and counts, without a language model."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.insights.base import Findings, Said, Stage

#: Bytes of talk that are looked at: some four hours.
_ROOM: Final = 250_000
#: Its lists of words take a while to load.
_NOTES: Final = "echoic.insights.notes"


class Rules:
    """Finds by rules and counts: what it gives is quoted, and what is not sure is left out."""

    name: Final = "rules"
    model: Final = "extractive"
    room: Final = _ROOM

    def __init__(self) -> None:
        self._place = asyncio.Semaphore(1)

    def load(self) -> None:
        """See ``Provider.load``."""
        import_module(_NOTES)

    async def distil(self, said: Sequence[Said], stage: Stage) -> Findings:  # noqa: ARG002  # the Protocol's
        """See ``Provider.distil``; computed in a thread, one talk at a time."""
        async with self._place:
            return await asyncio.to_thread(_findings, said)

    async def close(self) -> None:
        """See ``Provider.close``."""


def _findings(said: Sequence[Said]) -> Findings:
    found: Findings = import_module(_NOTES).notes(said)
    return found

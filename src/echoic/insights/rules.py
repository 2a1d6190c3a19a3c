"""Insights by rules and counts, without a language model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from echoic.insights.base import Findings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.insights.base import Said, Stage

#: Bytes of talk that are looked at: some four hours.
_ROOM: Final = 300_000


class Rules:
    """Finds by rules: what is quoted was said, and what is not sure is left out."""

    name: Final = "rules"
    model: Final = "extractive"
    room: Final = _ROOM

    async def distil(self, said: Sequence[Said], stage: Stage) -> Findings:  # noqa: ARG002  # the Protocol's
        """See ``Provider.distil``; computed in a thread."""
        return await asyncio.to_thread(find, said)

    async def close(self) -> None:
        """See ``Provider.close``."""


def find(_: Sequence[Said]) -> Findings:
    """Return what the rules find."""
    return Findings()

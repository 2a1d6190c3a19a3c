"""Decoders that loop: the same run of tokens again and again at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: So many equal runs of tokens at the end are a loop.
LOOP_REPEATS = 3


def without_loop(tokens: Sequence[int]) -> list[int]:
    """Return ``tokens`` with a run that is repeated at the end, three times or more, kept once."""
    size = len(tokens)
    for period in range(1, size // LOOP_REPEATS + 1):
        start = size - period
        while start >= period and list(tokens[start - period : start]) == list(tokens[size - period :]):
            start -= period
        if size - start >= LOOP_REPEATS * period:
            return list(tokens[: start + period])
    return list(tokens)

"""Removes loops: the same tokens decoded again and again at the end of a window."""

from __future__ import annotations

from collections.abc import Sequence

#: Minimum number of equal runs of tokens at the end that count as a loop.
MIN_LOOP_REPEATS = 3


def remove_loop(tokens: Sequence[int]) -> list[int]:
    """Return ``tokens`` with a run that repeats three times or more at the end reduced to one."""
    size = len(tokens)
    for period in range(1, size // MIN_LOOP_REPEATS + 1):
        start = size - period
        while start >= period and list(tokens[start - period : start]) == list(tokens[size - period :]):
            start -= period
        if size - start >= MIN_LOOP_REPEATS * period:
            return list(tokens[: start + period])
    return list(tokens)

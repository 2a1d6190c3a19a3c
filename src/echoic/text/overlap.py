"""The seam between two answers of bare text whose windows overlap."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

#: Words that fast speech fits into a second; bounds what an overlap may hide.
#: Source: conversational English runs at 150-200 words a minute, fast speech at 240 and more.
FASTEST_WORDS_PER_SECOND = 4.0


def fold(word: str) -> str:
    """Return what two spellings of the same heard word share: no case, no punctuation."""
    kept = (c for c in word.casefold() if unicodedata.category(c)[0] in "LNMS")
    return "".join(kept) or word.casefold()


def repeated(said: Sequence[str], heard: Sequence[str], overlap: float) -> int:
    """Return how many words at the head of ``heard`` repeat the tail of ``said``.

    The longest match wins, never more words than the overlap can hold and never all of them: a
    window was decoded for its new audio, and the same answer twice is the same word spoken twice.

    Args:
        said: Words of the transcript so far (its tail is enough).
        heard: Words of the new window.
        overlap: Seconds that the two windows share.
    """
    most = min(math.ceil(overlap * FASTEST_WORDS_PER_SECOND), len(said), len(heard) - 1)
    tail, head = [fold(w) for w in said[-most:]] if most > 0 else [], [fold(w) for w in heard[: max(most, 0)]]
    for count in range(most, 0, -1):
        if tail[-count:] == head[:count]:
            return count
    return 0


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

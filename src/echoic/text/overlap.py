"""The seam between two answers of bare text whose windows overlap."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

#: Words that fast speech fits into a second; bounds what an overlap may hide.
#: Source: conversational English runs at 150-200 words a minute, fast speech at 240 and more.
FASTEST_WORDS_PER_SECOND = 4.0


def fold_word(word: str) -> str:
    """Return what two spellings of the same heard word share: no case, no punctuation."""
    kept = (c for c in word.casefold() if unicodedata.category(c)[0] in "LNMS")
    return "".join(kept) or word.casefold()


def count_repeated_words(emitted: Sequence[str], decoded: Sequence[str], overlap: float) -> int:
    """Return how many words at the head of ``decoded`` repeat the tail of ``emitted``.

    The longest match wins, never more words than the overlap can hold and never all of them: a
    window was decoded for its new audio, and the same answer twice is the same word spoken twice.

    Args:
        emitted: Words of the transcript so far (its tail is enough).
        decoded: Words of the new window.
        overlap: Seconds that the two windows share.
    """
    most = min(math.ceil(overlap * FASTEST_WORDS_PER_SECOND), len(emitted), len(decoded) - 1)
    tail, head = (
        [fold_word(w) for w in emitted[-most:]] if most > 0 else [],
        [fold_word(w) for w in decoded[: max(most, 0)]],
    )
    for count in range(most, 0, -1):
        if tail[-count:] == head[:count]:
            return count
    return 0


#: So many equal runs of tokens at the end are a loop.
MIN_LOOP_REPEATS = 3


def remove_loop(tokens: Sequence[int]) -> list[int]:
    """Return ``tokens`` with a run that is repeated at the end, three times or more, kept once."""
    size = len(tokens)
    for period in range(1, size // MIN_LOOP_REPEATS + 1):
        start = size - period
        while start >= period and list(tokens[start - period : start]) == list(tokens[size - period :]):
            start -= period
        if size - start >= MIN_LOOP_REPEATS * period:
            return list(tokens[: start + period])
    return list(tokens)

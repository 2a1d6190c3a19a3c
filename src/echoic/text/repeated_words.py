"""Counts the words that a window repeats because it overlaps the window before it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

#: Words per second of fast speech; limits how many words an overlap can contain.
#: Source: conversational English runs at 150-200 words a minute, fast speech at 240 and more.
FASTEST_WORDS_PER_SECOND = 4.0


def fold_word(word: str) -> str:
    """Return a word without case and punctuation, for comparison."""
    kept = (c for c in word.casefold() if unicodedata.category(c)[0] in "LNMS")
    return "".join(kept) or word.casefold()


def count_repeated_words(emitted: Sequence[str], decoded: Sequence[str], overlap: float) -> int:
    """Return how many words at the start of ``decoded`` repeat the end of ``emitted``.

    The longest match wins, up to the number of words that the overlap can contain. At least one word is kept:
    a window with new audio that returns the same text contains the same words spoken again.

    Args:
        emitted: Words of the transcript so far; its last words are enough.
        decoded: Words of the new window.
        overlap: Seconds that the two windows share.
    """
    limit = min(math.ceil(overlap * FASTEST_WORDS_PER_SECOND), len(emitted), len(decoded) - 1)
    if limit <= 0:
        return 0
    tail = [fold_word(word) for word in emitted[-limit:]]
    head = [fold_word(word) for word in decoded[:limit]]
    for count in range(limit, 0, -1):
        if tail[-count:] == head[:count]:
            return count
    return 0

"""Local agreement: emits the words of a growing utterance on which successive decodes agree.

A decoder without state gets the last words of an open utterance wrong, because they are cut off or lack
context. So a word is emitted once a decode that ends a little earlier contains it too. A closed utterance is
decoded whole and the rest is emitted.

Source: prefix agreement of successive hypotheses, Liu, Spanakis and Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection",
https://arxiv.org/abs/2005.11185. Skipping a disagreement and aligning by letters are ours.
"""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np

Words = tuple[str, ...]

#: Equal words in a row after which a disagreement before them is skipped: the decoder will not resolve it
#: soon, and all later words would wait.
_MIN_AGREED_RUN = 4


class AgreedText:
    """The text of one growing utterance. Emitted words never change and are emitted once.

    Args:
        emitted: Words at its start that were emitted already (see ``find_words_after_split``).
    """

    def __init__(self, emitted: Words = ()) -> None:
        self._emitted = list(emitted)
        self._previous: Words | None = None

    @property
    def emitted(self) -> Words:
        """The words emitted so far, as they were spelled then."""
        return tuple(self._emitted)

    @property
    def previous_words(self) -> Words | None:
        """The words of the last hypothesis, or None."""
        return self._previous

    def add_hypothesis(self, words: Words, probe: Words | None, limit: int | None = None) -> Words:
        """Add a decode of the open utterance and return the words to emit.

        Emits the common prefix of both decodes. After a disagreement it emits words only if both decodes and
        the one of the last call share four or more in a row.

        Args:
            words: Decode of the utterance from its start up to now.
            probe: Decode from its start up to a slightly earlier time. If None, nothing is emitted.
            limit: Maximum number of ``words`` to emit, including those emitted before, or None.
        """
        before, self._previous = self._previous, words
        if probe is None:
            return ()
        ahead = self.words_beyond(words)
        earlier = self.words_beyond(probe)
        count = _count_common_prefix(_fold_words(ahead), _fold_words(earlier))
        if before is not None:
            count = max(
                count, min(_count_settled(ahead, earlier), _count_settled(ahead, self.words_beyond(before)))
            )
        if limit is not None:
            count = max(0, min(count, limit - (len(words) - len(ahead))))
        return self._emit_words(ahead[:count])

    def close_utterance(self, words: Words) -> Words:
        """Return the remaining words of ``words``, the decode of the whole utterance."""
        return self._emit_words(self.words_beyond(words))

    def find_words_after_split(self, words: Words) -> Words:
        """Return the emitted words that are not in ``words``, the decode up to the split of the utterance.

        They lie after the split, so the next utterance starts with them.
        """
        return self.emitted[_align_prefix(_fold_words(words), _fold_words(self.emitted)) :]

    def words_beyond(self, words: Words) -> Words:
        """Return the words of a decode that follow the emitted words.

        Ignores case and punctuation. If the decode differs from emitted words, both are aligned by the
        minimal edit distance of their letters.
        """
        return words[self.find_position(words) :]

    def find_position(self, words: Words) -> int:
        """Return how many of ``words`` belong to the emitted words, aligned as in ``words_beyond``."""
        return _align_prefix(_fold_words(self.emitted), _fold_words(words))

    def _emit_words(self, words: Words) -> Words:
        self._emitted += words
        return words


def _fold_words(words: Words) -> Words:
    return tuple("".join(letter for letter in word.casefold() if letter.isalnum()) for word in words)


def _count_common_prefix(one: Words, other: Words) -> int:
    """Return the number of equal words at the start."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))


def _count_settled(words: Words, other: Words) -> int:
    """Return how many of ``words`` there are up to the end of the last long run that is also in ``other``."""
    matcher = SequenceMatcher(None, _fold_words(words), _fold_words(other), autojunk=False)
    runs = [block for block in matcher.get_matching_blocks() if block.size >= _MIN_AGREED_RUN]
    return runs[-1].a + runs[-1].size if runs else 0


def _align_prefix(emitted: Words, words: Words) -> int:
    """Return the length of the prefix of ``words`` that is closest to ``emitted``; of equals the longest."""
    same = _count_common_prefix(emitted, words)
    rest = words[same:]
    ends = np.cumsum([0, *(len(word) for word in rest)])
    costs = _edit_distances("".join(emitted[same:]), "".join(rest))[ends]
    return same + len(rest) - int(costs[::-1].argmin())


def _edit_distances(text: str, other: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the edit distances of ``text`` to all prefixes of ``other``, the empty one first."""
    letters = np.array(list(other), dtype="U1")
    steps = np.arange(len(other) + 1, dtype=np.int64)
    costs = steps.copy()
    for letter in text:
        row = costs + 1
        row[1:] = np.minimum(row[1:], costs[:-1] + (letters != letter))
        costs = np.minimum.accumulate(row - steps) + steps
    return costs

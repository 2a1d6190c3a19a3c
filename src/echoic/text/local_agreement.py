"""What of a growing utterance may be said already: the words on which decodes agree.

A decoder without state that is given an utterance from its start up to now gets the last words wrong,
because they are cut or lack what follows. So a word is said only when a decode that ends a little
earlier has it too. Once the utterance is over it is decoded whole and the rest is said.
Source: the prefix agreement of successive hypotheses, Liu, Spanakis and Niehues, "Low-Latency
Sequence-to-Sequence Speech Recognition and Translation by Partial Hypothesis Selection",
https://arxiv.org/abs/2005.11185; passing over a disagreement and aligning by letters are ours.
"""

from __future__ import annotations

from difflib import SequenceMatcher

import numpy as np

Words = tuple[str, ...]

#: So many equal words in a row after a disagreement let it be passed over: the decoder will not settle
#: it soon, and everything after it would wait.
_MIN_AGREED_RUN = 4


class AgreedText:
    """The text of one utterance while it grows; what was said stays said, and is said once.

    Args:
        emitted: Words at its beginning that were said already (see ``find_surplus``).
    """

    def __init__(self, emitted: Words = ()) -> None:
        self._emitted = list(emitted)
        self._previous: Words | None = None

    @property
    def emitted(self) -> Words:
        """The words said so far, in the spelling in which they were said."""
        return tuple(self._emitted)

    @property
    def previous_words(self) -> Words | None:
        """The decode that ``add_hypothesis`` was given last, or None."""
        return self._previous

    def add_hypothesis(self, words: Words, probe: Words | None, limit: int | None = None) -> Words:
        """Return the words that may be said now; they count as said.

        Said is what both decodes begin with; and, past a place where they differ, what both and the
        decode of the last call have in common for four words or more.

        Args:
            words: The decode of the utterance from its start up to now.
            probe: The decode from its start up to a moment before; None: there is none, say nothing.
            limit: How many of ``words`` may be said at most, those said before among them; None: all.
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
        """Return the words not yet said of ``words``, the decode of the whole utterance."""
        return self._emit_words(self.words_beyond(words))

    def find_surplus(self, words: Words) -> Words:
        """Return the words said that are not in ``words``, the decode up to where the utterance was cut.

        They were heard beyond the cut: the next utterance, which begins there, begins with them.
        """
        return self.emitted[_align_prefix(_fold_words(words), _fold_words(self.emitted)) :]

    def words_beyond(self, words: Words) -> Words:
        """Return what of ``words``, a decode from the utterance's start, comes after the words said.

        Case and punctuation do not count; where the decode has changed its mind about words
        already said, it is aligned to them by the least number of letters to change.
        """
        return words[self.find_position(words) :]

    def find_position(self, words: Words) -> int:
        """Return after how many of ``words`` the words said end, as ``words_beyond`` sees it."""
        return _align_prefix(_fold_words(self.emitted), _fold_words(words))

    def _emit_words(self, words: Words) -> Words:
        self._emitted += words
        return words


def _fold_words(words: Words) -> Words:
    return tuple("".join(sign for sign in word.casefold() if sign.isalnum()) for word in words)


def _count_common_prefix(one: Words, other: Words) -> int:
    """Return how many words two texts share from their start."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))


def _count_settled(words: Words, other: Words) -> int:
    """Return after how many of ``words`` the last long run ends that ``other`` has too."""
    matcher = SequenceMatcher(None, _fold_words(words), _fold_words(other), autojunk=False)
    runs = [block for block in matcher.get_matching_blocks() if block.size >= _MIN_AGREED_RUN]
    return runs[-1].a + runs[-1].size if runs else 0


def _align_prefix(said: Words, words: Words) -> int:
    """Return after how many of ``words`` the part ends that is nearest to ``said``; the longest of equals."""
    same = _count_common_prefix(said, words)
    rest = words[same:]
    ends = np.cumsum([0, *(len(word) for word in rest)])
    costs = _edit_distances("".join(said[same:]), "".join(rest))[ends]
    return same + len(rest) - int(costs[::-1].argmin())


def _edit_distances(text: str, other: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the edit distance of ``text`` to each beginning of ``other``, the empty one first."""
    letters = np.array(list(other), dtype="U1")
    steps = np.arange(len(other) + 1, dtype=np.int64)
    costs = steps.copy()
    for letter in text:
        here = costs + 1
        here[1:] = np.minimum(here[1:], costs[:-1] + (letters != letter))
        costs = np.minimum.accumulate(here - steps) + steps
    return costs

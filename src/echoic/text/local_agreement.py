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
_SETTLED_RUN = 4


class UtteranceText:
    """The text of one utterance while it grows; what was said stays said, and is said once.

    Args:
        said: Words at its beginning that were said already (see ``surplus``).
    """

    def __init__(self, said: Words = ()) -> None:
        self._said = list(said)
        self._before: Words | None = None

    @property
    def said(self) -> Words:
        """The words said so far, in the spelling in which they were said."""
        return tuple(self._said)

    @property
    def before(self) -> Words | None:
        """The decode that ``grow`` was given last, or None."""
        return self._before

    def grow(self, words: Words, probe: Words | None, most: int | None = None) -> Words:
        """Return the words that may be said now; they count as said.

        Said is what both decodes begin with; and, past a place where they differ, what both and the
        decode of the last call have in common for four words or more.

        Args:
            words: The decode of the utterance from its start up to now.
            probe: The decode from its start up to a moment before; None: there is none, say nothing.
            most: How many of ``words`` may be said at most, those said before among them; None: all.
        """
        before, self._before = self._before, words
        if probe is None:
            return ()
        ahead = self.beyond(words)
        earlier = self.beyond(probe)
        count = _common(_keys(ahead), _keys(earlier))
        if before is not None:
            count = max(count, min(_settled(ahead, earlier), _settled(ahead, self.beyond(before))))
        if most is not None:
            count = max(0, min(count, most - (len(words) - len(ahead))))
        return self._say(ahead[:count])

    def close(self, words: Words) -> Words:
        """Return the words not yet said of ``words``, the decode of the whole utterance."""
        return self._say(self.beyond(words))

    def surplus(self, words: Words) -> Words:
        """Return the words said that are not in ``words``, the decode up to where the utterance was cut.

        They were heard beyond the cut: the next utterance, which begins there, begins with them.
        """
        return self.said[_place(_keys(words), _keys(self.said)) :]

    def beyond(self, words: Words) -> Words:
        """Return what of ``words``, a decode from the utterance's start, comes after the words said.

        Case and punctuation do not count; where the decode has changed its mind about words
        already said, it is aligned to them by the least number of letters to change.
        """
        return words[self.place(words) :]

    def place(self, words: Words) -> int:
        """Return after how many of ``words`` the words said end, as ``beyond`` sees it."""
        return _place(_keys(self.said), _keys(words))

    def _say(self, words: Words) -> Words:
        self._said += words
        return words


def _keys(words: Words) -> Words:
    return tuple("".join(sign for sign in word.casefold() if sign.isalnum()) for word in words)


def _common(one: Words, other: Words) -> int:
    """Return how many words two texts share from their start."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))


def _settled(words: Words, other: Words) -> int:
    """Return after how many of ``words`` the last long run ends that ``other`` has too."""
    matcher = SequenceMatcher(None, _keys(words), _keys(other), autojunk=False)
    runs = [block for block in matcher.get_matching_blocks() if block.size >= _SETTLED_RUN]
    return runs[-1].a + runs[-1].size if runs else 0


def _place(said: Words, words: Words) -> int:
    """Return after how many of ``words`` the part ends that is nearest to ``said``; the longest of equals."""
    same = _common(said, words)
    rest = words[same:]
    ends = np.cumsum([0, *(len(word) for word in rest)])
    costs = _changes("".join(said[same:]), "".join(rest))[ends]
    return same + len(rest) - int(costs[::-1].argmin())


def _changes(text: str, other: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the edit distance of ``text`` to each beginning of ``other``, the empty one first."""
    letters = np.array(list(other), dtype="U1")
    steps = np.arange(len(other) + 1, dtype=np.int64)
    costs = steps.copy()
    for letter in text:
        here = costs + 1
        here[1:] = np.minimum(here[1:], costs[:-1] + (letters != letter))
        costs = np.minimum.accumulate(here - steps) + steps
    return costs

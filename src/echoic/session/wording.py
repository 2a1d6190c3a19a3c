"""Words as they are said to the client: those of a vocabulary in place of what was heard, times kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.session.reading import Spoken
    from echoic.text.replacing import Replacements

#: Seconds of audio without a new word after which the beginning of a phrase is said as it is.
_PATIENCE = 1.0


class Wording:
    """Says the words of one stretch, segment by segment.

    What may be the beginning of a phrase that is to be replaced waits until it is known how it goes on.
    """

    def __init__(self) -> None:
        self._held: list[Spoken] = []
        self._held_since = 0.0

    def say(
        self, words: Sequence[Spoken], replacements: Replacements, end: float, *, flush: bool
    ) -> list[Spoken]:
        """Return what is to be said of a segment's words.

        Args:
            words: Those that are new with it.
            replacements: What is put in place of what.
            end: Seconds on the session's clock at which it ends.
            flush: Everything is to be said.
        """
        known = [*self._held, *words]
        whole = len(known)
        if words:
            self._held_since = end
        if not flush and replacements.has_phrases and end - self._held_since < _PATIENCE:
            whole = replacements.unfinished([word.word for word in known])
        self._held = known[whole:]
        return reworded(known[:whole], replacements)

    def glimpse(self, words: Sequence[Spoken], replacements: Replacements) -> list[Spoken]:
        """Return what would be said of words that may still change."""
        return reworded([*self._held, *words], replacements)


def reworded(words: Sequence[Spoken], replacements: Replacements) -> list[Spoken]:
    """Return words with what was meant in place of what was heard.

    As many words as before keep their times, one by one. More or fewer share the time of those whose place
    they take, each by its letters; their confidence is that of the least sure.
    """
    said: list[Spoken] = []
    done = 0
    for edit in replacements.edits([word.word for word in words]) if replacements else ():
        said += words[done : edit.first]
        said += _put_in(words[edit.first : edit.end], edit.words)
        done = edit.end
    return [*said, *words[done:]]


def _put_in(heard: Sequence[Spoken], meant: Sequence[str]) -> list[Spoken]:
    if len(heard) == len(meant):
        return [replace(old, word=new) for old, new in zip(heard, meant, strict=True)]
    known = [word.confidence for word in heard if word.confidence is not None]
    ends = heard[0].about and heard[-1].about and (heard[0].about[0], heard[-1].about[1])
    like = replace(heard[0], confidence=min(known) if known else None, about=ends)
    start, end = heard[0].start, heard[-1].end
    if start is None or end is None:
        return [replace(like, word=word, start=None, end=None) for word in meant]
    whole = sum(len(word) for word in meant)
    edges = [start + (end - start) * part / whole for part in accumulate(map(len, meant), initial=0)]
    return [
        replace(like, word=word, start=begins, end=ends)
        for word, (begins, ends) in zip(meant, pairwise(edges), strict=True)
    ]

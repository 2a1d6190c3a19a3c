"""Words as they are said to the client: those of a vocabulary in place of what was heard, times kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.session.reading import Spoken
    from echoic.text.replacing import Replacements


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
    like = replace(heard[0], confidence=min(known) if known else None)
    start, end = heard[0].start, heard[-1].end
    if start is None or end is None:
        return [replace(like, word=word, start=None, end=None) for word in meant]
    whole = sum(len(word) for word in meant)
    edges = [start + (end - start) * part / whole for part in accumulate(map(len, meant), initial=0)]
    return [
        replace(like, word=word, start=begins, end=ends)
        for word, (begins, ends) in zip(meant, pairwise(edges), strict=True)
    ]

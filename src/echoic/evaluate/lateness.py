"""How late words come: from the end of what somebody says in one go to the final that completes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.evaluate.normal import normalise
from echoic.evaluate.scoring import partners

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Passage:
    """What is said in one go: its place in seconds, and its words if they are known."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """A word of the transcript and the second of audio at whose hearing its final came."""

    word: str
    at: float


def said(finals: Iterable[tuple[str, float]]) -> list[Said]:
    """Return the transcript's words.

    Args:
        finals: Each one's text, and the second of audio at which it came.
    """
    return [Said(word, at) for text, at in finals for word in normalise(text)]


def after_passages(passages: Sequence[Passage], words: Sequence[Said]) -> list[float]:
    """Return for each passage the seconds from its end to the final that completes it.

    The final that completes it is the one with the last word that aligns to the passage. Silence at the end
    of a passage counts as passage; a passage of which nothing was heard is left out.
    """
    expected = [normalise(passage.text) for passage in passages]
    places = partners([word for text in expected for word in text], [one.word for one in words])
    late, first = [], 0
    for passage, text in zip(passages, expected, strict=True):
        found = [place for place in places[first : first + len(text)] if place is not None]
        first += len(text)
        if found:
            late.append(words[found[-1]].at - passage.end)
    return late

"""How late words come: from the end of what somebody says in one go to the final that completes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.evaluate.normal import normalize_text
from echoic.evaluate.scoring import align_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class ReferenceUtterance:
    """What is said in one go: its place in seconds, and its words if they are known."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class DeliveredWord:
    """A word of the transcript and the second of audio at whose hearing its final came."""

    word: str
    delivered_at: float


def collect_delivered_words(finals: Iterable[tuple[str, float]]) -> list[DeliveredWord]:
    """Return the transcript's words.

    Args:
        finals: Each one's text, and the second of audio at which it came.
    """
    return [DeliveredWord(word, at) for text, at in finals for word in normalize_text(text)]


def measure_latencies(
    utterances: Sequence[ReferenceUtterance], words: Sequence[DeliveredWord]
) -> list[float]:
    """Return for each passage the seconds from its end to the final that completes it.

    The final that completes it is the one with the last word that aligns to the passage. Silence at the end
    of a passage counts as passage; a passage of which nothing was heard is left out.
    """
    expected = [normalize_text(passage.text) for passage in utterances]
    places = align_words([word for text in expected for word in text], [one.word for one in words])
    late, first = [], 0
    for passage, text in zip(utterances, expected, strict=True):
        found = [place for place in places[first : first + len(text)] if place is not None]
        first += len(text)
        if found:
            late.append(words[found[-1]].delivered_at - passage.end)
    return late

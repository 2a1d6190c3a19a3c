"""How late words come, in seconds of audio: what a recogniser that costs no time would show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.scoring import normalise, partners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.decoding import Json
    from benchmarks.recordings import Passage


@dataclass(frozen=True, slots=True)
class Said:
    """A word of the transcript and the second of audio at whose hearing its final came."""

    word: str
    at: float


def said(finals: Sequence[Json]) -> list[Said]:
    """Return the transcript's words, each with the end of the segment that brought it."""
    return [Said(word, _end(frame)) for frame in finals for word in normalise(str(frame["text"]))]


def after_passages(passages: Sequence[Passage], finals: Sequence[Json]) -> list[float]:
    """Return for each passage the seconds from its end to the final that completes it.

    The final that completes it is the one with the last word that aligns to the passage. The passage's own
    trailing silence, as the RTTM file has it, counts as passage; a passage of which nothing was heard
    is left out.
    """
    words = said(finals)
    expected = [normalise(passage.text) for passage in passages]
    places = partners([word for text in expected for word in text], [one.word for one in words])
    late, first = [], 0
    for passage, text in zip(passages, expected, strict=True):
        found = [place for place in places[first : first + len(text)] if place is not None]
        first += len(text)
        if found:
            late.append(words[found[-1]].at - passage.end)
    return late


def from_partial_to_final(frames: Sequence[Json]) -> tuple[list[float], float]:
    """Return for each word the seconds from its first partial to its final, and the share never in a partial.

    A word was in a partial if the partial, put behind the finals before it, has the same word at the
    same place of the transcript.
    """
    seen: dict[tuple[int, str], float] = {}
    waits: list[float] = []
    count = 0
    for frame in frames:
        for place, word in enumerate(normalise(str(frame["text"])), start=count):
            if frame["type"] == "partial":
                seen.setdefault((place, word), _end(frame))
            else:
                count += 1
                if (place, word) in seen:
                    waits.append(_end(frame) - seen[place, word])
    return waits, 1.0 - len(waits) / count if count else 0.0


def _end(frame: Json) -> float:
    return float(str(frame["segment_end"]))

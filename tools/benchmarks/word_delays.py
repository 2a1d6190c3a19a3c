"""Delays of words in seconds of audio, as with a recognizer that takes no time."""

from __future__ import annotations

from collections.abc import Sequence

from echoic.evaluate.metrics import DeliveredWord, collect_delivered_words
from echoic.evaluate.normalize import normalize_text
from tools.benchmarks.decoding import Json


def collect_words(finals: Sequence[Json]) -> list[DeliveredWord]:
    """Return the words of the transcript, each with the end of its segment."""
    return collect_delivered_words((str(frame["text"]), _read_segment_end(frame)) for frame in finals)


def measure_final_delays(frames: Sequence[Json]) -> tuple[list[float], float]:
    """Return the seconds from first partial to final for each word, and the share of words in no partial.

    A word was in a partial if the partial, appended to the finals before it, has the same word at the same
    position of the transcript.
    """
    seen: dict[tuple[int, str], float] = {}
    waits: list[float] = []
    count = 0
    for frame in frames:
        for place, word in enumerate(normalize_text(str(frame["text"])), start=count):
            if frame["type"] == "partial":
                seen.setdefault((place, word), _read_segment_end(frame))
            else:
                count += 1
                if (place, word) in seen:
                    waits.append(_read_segment_end(frame) - seen[place, word])
    return waits, 1.0 - len(waits) / count if count else 0.0


def _read_segment_end(frame: Json) -> float:
    return float(str(frame["segment_end"]))

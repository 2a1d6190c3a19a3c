"""Properties of word times: ordered, inside their segment, on the session's clock."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, PlateauDetector, ScriptedEngine, draw_words
from echoic.interfaces.engine import Hypothesis, Token
from echoic.session.session import Session
from support.session_driver import Json, SessionDriver, filter_frames
from support.simple_engines import TimedScripted
from support.strategies import CHUNK_AND_OVERLAP, cut_places, spoken_words
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_talks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from echoic.interfaces.engine import Engine, Window
    from echoic.interfaces.vad import VoiceActivityDetector

#: Seconds by which rounding may move a time.
ROUNDING = 2e-6


class JitteringEngine(ScriptedEngine):
    """Varies the times of words between decodes, as an attention decoder does."""

    def __init__(self) -> None:
        super().__init__(replace(LOCAL_AGREEMENT, has_word_times=True))

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        answers = zip(windows, super().decode(windows), strict=True)
        return [Hypothesis(volatile=self._timed(window, answer.volatile)) for window, answer in answers]

    def _timed(self, window: Window, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        seconds = len(window.audio) / window.sample_rate
        share = seconds / max(1, len(tokens))
        return tuple(replace(one, start=at * share, duration=share) for at, one in enumerate(tokens))


@cache
def parakeet() -> ParakeetOnnx:
    return ParakeetOnnx(TINY_PARAKEET_FOLDER)


def list_words(frame: Json) -> list[Any]:  # JSON
    words = frame["words"]
    assert isinstance(words, list)
    return words


def check_words(frames: list[Json], held: float) -> int:
    """Check all finals since a reset and return the number of words.

    Args:
        frames: In order.
        held: Seconds that a word may begin before its segment.
    """
    last, count = 0.0, 0
    for frame in frames:
        if frame == {"type": "status", "state": "reset"}:
            last = 0.0
        if frame["type"] != "final":
            continue
        words, start, end = (
            list_words(frame),
            float(str(frame["segment_start"])),
            float(str(frame["segment_end"])),
        )
        assert " ".join(word["word"] for word in words) == frame["text"]
        for word in words:
            assert last - ROUNDING <= word["start"] <= word["end"], (word, last)
            assert start - held - ROUNDING <= word["start"], (word, start)
            assert word["end"] <= end + ROUNDING, (word, end)
            last, count = word["end"], count + 1
    return count


#: Engines, and the seconds that a word may begin before its segment. A word may last 1.8 s: its samples are
#: played at half their rate after a ``config`` that halves the sample rate.
ENGINES: dict[str, tuple[Callable[[], Engine], float]] = {
    "stateful": (lambda: ScriptedEngine(replace(STATEFUL, has_word_times=True)), 2.5),
    "stateful, right context": (
        lambda: ScriptedEngine(replace(STATEFUL, has_word_times=True, right_context=0.4)),
        3.0,
    ),
    "overlap": (TimedScripted, 1.5),
    "local_agreement": (JitteringEngine, 22.0),
}
CHANGES: st.SearchStrategy[Json | None] = st.sampled_from(
    [
        None,
        None,
        {"type": "commit"},
        {"type": "reset"},
        {"type": "config", "chunk_duration": 1.0, "overlap_duration": 0.25},
        {"type": "config", "sample_rate": 8_000},
        {"type": "config", "sample_rate": 16_000},
        {"type": "config", "model": "whisper"},
        {"type": "config", "word_timestamps": True},
    ]
)


@pytest.mark.parametrize("name", ENGINES)
@given(st.data(), CHUNK_AND_OVERLAP, st.sampled_from([None, PlateauDetector]))
def test_word_times_are_ordered_and_inside_their_segment(
    name: str,
    data: st.DataObject,
    durations: tuple[float, float],
    build_detector: Callable[[], VoiceActivityDetector] | None,
) -> None:
    make, held = ENGINES[name]
    speech = data.draw(spoken_words())
    driver = SessionDriver(make(), Session(build_detector))
    chunk, overlap = durations
    driver.send(
        {"type": "config", "chunk_duration": chunk, "overlap_duration": overlap, "word_timestamps": True}
    )
    at = 0
    for place in [*data.draw(cut_places(len(speech.samples))), len(speech.samples)]:
        driver.push_audio(speech.samples[at:place])
        at = place
        if change := data.draw(CHANGES):
            driver.send(change)
    driver.send({"type": "commit"})
    check_words(driver.frames, held)


@settings(max_examples=8)
@given(st.data())
def test_word_times_of_parakeet_are_ordered(data: st.DataObject) -> None:
    audio, _ = data.draw(st.sampled_from(read_talks()))
    driver = SessionDriver(parakeet(), Session())
    driver.send({"type": "config", "word_timestamps": True, "enable_partial": data.draw(st.booleans())})
    at = 0
    for place in sorted(data.draw(st.lists(st.integers(1, len(audio) - 1), max_size=6, unique=True))):
        driver.push_audio(audio[at:place])
        at = place
        if change := data.draw(CHANGES):
            driver.send(change)
    driver.push_audio(audio[at:])
    driver.send({"type": "commit"})
    assert check_words(driver.frames, 4.0)


def test_a_word_has_the_time_at_which_it_was_spoken() -> None:
    driver = SessionDriver(ScriptedEngine(replace(STATEFUL, has_word_times=True)), Session(PlateauDetector))
    driver.send({"type": "config", "word_timestamps": True})
    driver.push_audio(build_silence_and_word("one"))
    driver.send({"type": "commit"})
    driver.push_audio(build_silence_and_word("two"))
    driver.send({"type": "reset"})
    driver.push_audio(build_silence_and_word("three"))
    driver.send({"type": "stop"})
    found = [word for frame in filter_frames(driver.frames, "final") for word in list_words(frame)]
    assert [word["word"] for word in found] == ["one", "two", "three"]
    assert [word["start"] for word in found] == pytest.approx([3.0, 8.4, 3.0], abs=0.1)


def build_silence_and_word(word: str) -> NDArray[np.float32]:
    return draw_words([("", 3.0), word, ("", 2.0)])

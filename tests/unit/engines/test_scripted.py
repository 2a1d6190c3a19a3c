from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.scripted import (
    LOCAL_AGREEMENT,
    OVERLAP,
    STATEFUL,
    VOCABULARY,
    DecodeCost,
    PlateauDetector,
    ScriptedEngine,
    draw_words,
)
from echoic.interfaces.engine import EngineRequirements, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from echoic.interfaces.engine import Token

words_lists = st.lists(st.sampled_from(VOCABULARY), max_size=8)


def build_window(audio: NDArray[np.float32]) -> Window:
    return Window(
        audio, 16_000, start=0.0, left_context=0, new_samples=audio.size, right_context=0, is_last=True
    )


def list_words(tokens: tuple[Token, ...]) -> list[str]:
    return [token.text.strip() for token in tokens]


@given(words_lists)
def test_drawn_words_are_recognised(words: list[str]) -> None:
    audio = draw_words(words)
    assert list_words(ScriptedEngine(STATEFUL).decode([build_window(audio)])[0].committed) == words
    assert list_words(ScriptedEngine(LOCAL_AGREEMENT).decode([build_window(audio)])[0].volatile) == words


@given(words_lists)
def test_words_survive_sixteen_bits(words: list[str]) -> None:
    audio = (np.rint(draw_words(words) * 32768).clip(-32768, 32767) / 32768).astype(np.float32)
    assert list_words(ScriptedEngine().decode([build_window(audio)])[0].committed) == words


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_words_and_times_survive_resampling(rate: int) -> None:
    words = [*VOCABULARY, "one", "one"]
    audio = soxr.resample(draw_words(words, rate=rate), rate, 16_000).astype(np.float32)
    hypothesis = ScriptedEngine().decode([build_window(audio)])[0]
    assert list_words(hypothesis.committed) == words
    for index, token in enumerate(hypothesis.committed):
        assert token.start == pytest.approx(index * 0.4, abs=0.01)
        assert token.duration == pytest.approx(0.3, abs=0.02)


def test_a_word_has_the_length_and_the_pause_it_was_given() -> None:
    audio = draw_words([("one", 0.5), ("", 1.0), "two"], gap_seconds=0.2)
    assert audio.size == round(16_000 * (0.5 + 0.2 + 1.0 + 0.3 + 0.2))
    times = [
        (token.start, token.duration) for token in ScriptedEngine().decode([build_window(audio)])[0].committed
    ]
    assert times == [(0.0, 0.5), (1.7, 0.3)]


def test_a_word_that_is_not_in_the_vocabulary_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="spaceship"):
        draw_words(["spaceship"])


def test_a_word_cut_by_the_edge_is_committed_once() -> None:
    audio = draw_words(["seven"])
    engine = ScriptedEngine()
    first = engine.decode([Window(audio, 16_000, 0.0, left_context=0, new_samples=1_600, right_context=0)])[0]
    rest = Window(
        audio,
        16_000,
        0.0,
        left_context=1_600,
        new_samples=audio.size - 1_600,
        right_context=0,
        state=first.state,
    )
    assert list_words(first.committed) == ["seven"]
    assert first.committed[0].duration == pytest.approx(0.1)
    assert engine.decode([rest])[0].committed == ()


def test_words_that_begin_in_the_right_context_are_volatile() -> None:
    engine = ScriptedEngine(EngineRequirements("stateful", left_context=0.5, right_context=0.4))
    audio = draw_words(["one", "two"])
    hypothesis = engine.decode(
        [Window(audio, 16_000, 0.0, left_context=0, new_samples=6_400, right_context=6_400)]
    )[0]
    assert list_words(hypothesis.committed) == ["one"]
    assert list_words(hypothesis.volatile) == ["two"]


@pytest.mark.parametrize("needs", [LOCAL_AGREEMENT, OVERLAP])
@pytest.mark.parametrize(
    ("shown", "heard"), [(0.05, "eight"), (0.19, "eight"), (0.2, "seven"), (0.3, "seven")]
)
def test_a_stateless_engine_misreads_a_word_cut_by_the_edge(
    needs: EngineRequirements, shown: float, heard: str
) -> None:
    audio = draw_words(["one", "seven"])[: round(16_000 * (0.4 + shown))]
    assert list_words(ScriptedEngine(needs).decode([build_window(audio)])[0].volatile) == ["one", heard]


def test_a_hook_is_called_for_its_word_and_may_raise() -> None:
    heard: list[str] = []

    def refuse() -> None:
        raise RuntimeError("as told")

    engine = ScriptedEngine(word_hooks={"one": lambda: heard.append("one"), "two": refuse})
    engine.decode([build_window(draw_words(["three", "one"]))])
    assert heard == ["one"]
    with pytest.raises(RuntimeError, match="as told"):
        engine.decode([build_window(draw_words(["three"])), build_window(draw_words(["two"]))])


def test_a_decode_sleeps_for_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    ScriptedEngine(cost=DecodeCost(batch_seconds=1.0, window_seconds=0.25)).decode(
        [build_window(draw_words(["one"]))] * 3
    )
    assert slept == [1.75]


def test_noise_gives_no_words() -> None:
    noise = np.random.default_rng(7).uniform(-1, 1, 32_000).astype(np.float32)
    assert ScriptedEngine().decode([build_window(noise)])[0].committed == ()


def test_the_detector_finds_the_quietest_word_and_no_silence() -> None:
    voice = PlateauDetector()
    audio = draw_words([("one", voice.frame_samples / voice.sample_rate)], gap_seconds=0.032)
    frames = audio.reshape(-1, voice.frame_samples)
    assert voice.probabilities(frames) == [1.0, 0.0]
    assert voice.probabilities(frames[:0]) == []

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from echoic.audio.vad import AlwaysSpeech
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.engines.scripted import LOCAL_AGREEMENT, STATEFUL, PlateauDetector, ScriptedEngine, draw_words
from echoic.evaluate.offline import SAMPLE_RATE, transcribe_offline
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Window
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings

PAUSE = ("", 1.5)


@pytest.mark.parametrize("needs", [STATEFUL, LOCAL_AGREEMENT])
def test_each_utterance_has_its_words_and_times(needs: EngineRequirements) -> None:
    audio = draw_words([PAUSE, "one", "two", PAUSE, "three", PAUSE, "four", "five", PAUSE])
    found = transcribe_offline(ScriptedEngine(needs), PlateauDetector, audio)
    assert [passage.text for passage in found.utterances] == ["one two", "three", "four five"]
    assert found.text == "one two three four five"
    starts = [passage.start for passage in found.utterances]
    assert starts == pytest.approx([1.3, 3.6, 5.5], abs=0.07)


def test_a_stateful_engine_gets_at_most_one_minute_at_once() -> None:
    sizes: list[int] = []

    class Counting(ScriptedEngine):
        def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
            sizes.extend(len(window.audio) for window in windows)
            return super().decode(windows)

    audio = draw_words(["one", "two", ("", 10.0)] * 13)
    found = transcribe_offline(Counting(STATEFUL), PlateauDetector, audio)
    assert found.text.split() == ["one", "two"] * 13
    assert len(sizes) == 3
    assert max(sizes) <= 61 * SAMPLE_RATE


def test_no_audio_and_silence_give_no_text() -> None:
    for audio in (np.zeros(0, np.float32), np.zeros(SAMPLE_RATE, np.float32)):
        assert transcribe_offline(ScriptedEngine(), PlateauDetector, audio).text == ""


def test_without_a_detector_all_audio_is_speech() -> None:
    audio, text = read_recordings()[0]
    assert transcribe_offline(ParakeetOnnx(TINY_PARAKEET_FOLDER), AlwaysSpeech, audio).text == text

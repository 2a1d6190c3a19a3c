from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoic.diarization.models import SEGMENTATION_FILE
from echoic.diarization.segmentation import PyanNet
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import read_recordings

RATE = 16_000


@pytest.fixture(scope="module")
def model() -> PyanNet:
    return PyanNet(SEGMENTATION_FILE)


def test_voices_are_found_at_any_loudness_but_not_in_silence(model: PyanNet) -> None:
    clip = max((clip for clip, _ in read_recordings()), key=len)[: 4 * RATE]
    pause = np.zeros(2 * RATE, np.float32)
    audio = np.concatenate((pause, clip))
    loud, quiet = model.find_voices(audio), model.find_voices(audio * np.float32(0.01))
    assert loud.shape == (-(-audio.size // 160), 3)
    assert loud[220:].any(axis=1).mean() > 0.5
    assert not loud[:150].any()
    assert (loud.any(axis=1) == quiet.any(axis=1)).mean() > 0.95


def test_very_short_audio_has_no_voices(model: PyanNet) -> None:
    assert model.find_voices(np.zeros(0, np.float32)).shape == (0, 3)
    assert not model.find_voices(np.ones(500, np.float32)).any()


def test_an_invalid_model_file_is_unavailable(tmp_path: Path) -> None:
    file = tmp_path / "segmentation.onnx"
    with pytest.raises(ModelUnavailable, match="is missing"):
        PyanNet(file)
    file.write_bytes(b"no graph")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        PyanNet(file)

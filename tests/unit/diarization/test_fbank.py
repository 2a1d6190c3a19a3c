from __future__ import annotations

import numpy as np
import pytest

from echoic.diarization.fbank import FRAME_SAMPLES, HOP_SAMPLES, compute_fbank

#: Every eleventh frame and thirteenth bin by kaldi-native-fbank 1.23 (dither 0) of the sound below.
KALDI = [
    [14.641, 12.129, 4.129, 2.626, 21.653, 2.676, -2.22],
    [12.727, 23.997, 6.425, 1.962, 21.653, 2.714, -2.114],
    [12.625, 13.66, 10.07, 5.055, 21.653, 2.566, -2.976],
]


def build_audio() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    times = np.arange(4000) / 16_000
    chirp = 0.3 * np.sin(2 * np.pi * (200 + 900 * times) * times)
    return (chirp + 0.05 * np.sin(2 * np.pi * 3100 * times) + 0.01).astype(np.float32)


def test_features_equal_kaldis() -> None:
    found = compute_fbank(build_audio())
    assert found.shape == (23, 80)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found[::11, ::13], KALDI, atol=0.02
    )  # the last bits of energies far below the loudest


@pytest.mark.parametrize("size", [0, 1, FRAME_SAMPLES - 1])
def test_audio_shorter_than_a_frame_has_no_features(size: int) -> None:
    assert compute_fbank(np.zeros(size, np.float32)).shape == (0, 80)


def test_a_frame_depends_on_its_own_samples_only() -> None:
    whole = compute_fbank(build_audio())
    np.testing.assert_allclose(compute_fbank(build_audio()[5 * HOP_SAMPLES :]), whole[5:], atol=1e-4)

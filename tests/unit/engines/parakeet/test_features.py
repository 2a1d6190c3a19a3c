from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.engines.parakeet.features import LogMelExtractor, build_mel_filters, count_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray


def build_chirp(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Chirps that swell and fade over a little noise."""
    chance = np.random.default_rng(seed)
    times = np.arange(round(16_000 * seconds)) / 16_000
    pitch = 200 + 1_500 * np.sin(3 * times) ** 2 * times
    tone = np.sin(2 * np.pi * pitch * times) * np.sin(2.5 * times) ** 2
    return np.asarray(0.3 * tone + 0.003 * chance.normal(size=times.size), np.float32)


@pytest.mark.skipif(find_spec("onnx_asr") is None, reason="onnx-asr is not installed")
@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("samples", [480, 1_599, 16_000, 50_001])
def test_features_equal_those_of_nemo(bands: int, samples: int) -> None:
    from onnx_asr.preprocessors.numpy_preprocessor import (  # noqa: PLC0415  # optional
        NemoPreprocessorNumpy,
    )

    audio = build_chirp(samples / 16_000)
    theirs, frames = NemoPreprocessorNumpy(f"nemo{bands}")(audio[None], np.array([samples], np.int64))
    ours = LogMelExtractor(bands)([audio])
    assert ours.frame_counts.tolist() == frames.tolist()
    assert np.abs(ours.log_mel[0] - theirs[0, :, : int(frames[0])]).max() < 1e-3


def test_features_do_not_depend_on_the_batch() -> None:
    windows = [build_chirp(seconds, seed) for seed, seconds in enumerate((1.0, 0.3, 2.02, 1.0))]
    make = LogMelExtractor(80)
    together = make(windows)
    for place, frames, window in zip(together.log_mel, together.frame_counts, windows, strict=True):
        alone = make([window])
        assert frames == alone.frame_counts[0]
        assert np.array_equal(place[:, :frames], alone.log_mel[0])
        assert not place[:, frames:].any()


def test_each_band_is_normalised_over_the_window() -> None:
    bands = LogMelExtractor(128)([build_chirp(3.0)]).log_mel[0]
    assert bands.dtype == np.float32
    assert np.abs(bands.mean(axis=1)).max() < 1e-3
    assert np.abs(bands.std(axis=1, ddof=1) - 1).max() < 1e-2


def test_silence_is_zero_everywhere() -> None:
    assert not LogMelExtractor(128)([np.zeros(16_000, np.float32)]).log_mel.any()


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (159, 0), (319, 0), (320, 2), (479, 2), (16_000, 100)]
)
def test_a_frame_starts_every_10_ms_and_one_is_too_few(samples: int, frames: int) -> None:
    features = LogMelExtractor(80)([build_chirp(samples / 16_000)])
    assert count_frames(samples) == frames
    assert features.frame_counts.tolist() == [frames]
    assert features.log_mel.shape == (1, 80, frames)


def test_no_windows_have_no_features() -> None:
    assert LogMelExtractor(80)([]).log_mel.shape == (0, 80, 0)


def test_the_filters_are_triangles_of_equal_area_up_to_8_khz() -> None:
    filters = build_mel_filters(80)
    assert filters.shape == (80, 257)
    assert (filters >= 0).all()
    widths = filters[40:].sum(axis=1) * 16_000 / 512
    assert widths == pytest.approx(np.ones(40), abs=0.1)

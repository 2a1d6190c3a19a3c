"""Log-mel features in numpy, equal to those of NeMo's ``AudioToMelSpectrogramPreprocessor`` for Parakeet.

16 kHz, a symmetric Hann window of 25 ms in an FFT of 512, one frame per 10 ms, preemphasis 0.97, Slaney's mel
bands, logarithm with a guard, each band normalised over the window; no dither, no padding.
Source: https://github.com/NVIDIA/NeMo, ``parts/preprocessing/features.py`` (``FilterbankFeatures``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
#: Samples from one frame to the next: 10 ms.
HOP_SAMPLES = 160
#: Samples of the Hann window: 25 ms.
WINDOW_SAMPLES = 400
FFT_SIZE = 512
PREEMPHASIS = 0.97
#: Added to the energy of a band before the logarithm.
LOG_GUARD = 2.0**-24
#: Added to the standard deviation of a band before the division.
MIN_DEVIATION = 1e-5
#: The fewest frames with a standard deviation.
MIN_FRAMES = 2

#: Slaney's scale: linear up to 1 kHz (15 mel), and logarithmic above (27 mel per factor of 6.4).
#: Source: Slaney, "Auditory Toolbox", 1998; https://librosa.org, ``librosa.filters.mel``.
_LINEAR_HERTZ = 200.0 / 3
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _LINEAR_HERTZ
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True, slots=True)
class MelFeatures:
    """The features of several windows."""

    #: float32, shape ``(windows, bands, longest)``; zero after the frames of a window.
    log_mel: NDArray[np.float32]
    #: The frames of each window, int64, shape ``(windows,)``.
    frame_counts: NDArray[np.int64]


class LogMelExtractor:
    """Computes log-mel features.

    Args:
        mel_bands: Mel bands; Parakeet 0.6B has 128, the 110M has 80.
    """

    def __init__(self, mel_bands: int = 128) -> None:
        self._filters = build_mel_filters(mel_bands)
        self._mel_bands = mel_bands

    def __call__(self, windows: Sequence[NDArray[np.float32]]) -> MelFeatures:
        """Return the features of windows; each is independent of the others.

        Args:
            windows: float32, shape ``(samples,)`` each, 16 kHz, -1..1.
        """
        frames = np.array([count_frames(len(audio)) for audio in windows], np.int64)
        bands = np.zeros((len(windows), self._mel_bands, int(frames.max(initial=0))), np.float32)
        for place, audio, count in zip(bands, windows, frames.tolist(), strict=True):
            if count >= MIN_FRAMES:
                place[:, :count] = self._compute_normalised(audio, count)
        return MelFeatures(bands, frames)

    def _compute_normalised(self, audio: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
        """Return the normalised features, shape ``(bands, frames)``."""
        logs: NDArray[np.float32] = np.log(
            self._filters @ _compute_power_spectrum(audio, frames) + np.float32(LOG_GUARD)
        )
        # In double precision: a constant band must become zero, not an amplified rounding error.
        logs -= logs.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
        deviation = np.sqrt((logs * logs).sum(axis=1, keepdims=True) / np.float32(frames - 1))
        logs /= deviation + np.float32(MIN_DEVIATION)
        return logs


def count_frames(samples: int) -> int:
    """Return the number of frames of ``samples`` samples; 0 if there are too few to normalise."""
    frames = samples // HOP_SAMPLES
    return frames if frames >= MIN_FRAMES else 0


@lru_cache(maxsize=4)
def build_mel_filters(mel_bands: int) -> NDArray[np.float32]:
    """Return triangular filters of equal area on Slaney's mel scale from 0 to 8 kHz.

    Returns:
        float32, shape ``(bands, FFT // 2 + 1)``, read-only.
    """
    top = _BREAK_MEL + np.log(SAMPLE_RATE / 2 / _BREAK_HERTZ) / _LOG_STEP
    edges = _mel_to_hertz(np.linspace(0.0, top, mel_bands + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    filters = triangles.astype(np.float32)
    filters.flags.writeable = False
    return filters


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HERTZ, above)


@lru_cache(maxsize=1)
def _build_hann_window() -> NDArray[np.float32]:
    return np.hanning(WINDOW_SAMPLES).astype(np.float32)


def _compute_power_spectrum(audio: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Return the power spectrum, shape ``(FFT // 2 + 1, frames)``.

    A frame is centred on its hop. The position of the window in the FFT changes only the phases, so the
    window is at the start.
    """
    padded = np.zeros(len(audio) + WINDOW_SAMPLES, np.float32)
    body = padded[WINDOW_SAMPLES // 2 : WINDOW_SAMPLES // 2 + len(audio)]
    body[:] = audio
    body[1:] -= np.float32(PREEMPHASIS) * audio[:-1]
    framed = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[
        : frames * HOP_SAMPLES : HOP_SAMPLES
    ]
    spectrum = np.fft.rfft(framed * _build_hann_window(), FFT_SIZE)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(power.T, np.float32)

"""Kaldi's log mel filter bank in numpy, the input of many speaker models.

Source: https://github.com/kaldi-asr/kaldi (``feature-fbank.cc``, ``mel-computations.cc``) with its defaults:
whole frames of 25 ms every 10 ms, means removed, pre-emphasis 0.97, Povey's window, power
spectrum, 20 Hz to half the rate; without dither.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Samples from one frame to the next, at 16 kHz.
HOP_SAMPLES = 160
#: Samples of a frame.
FRAME_SAMPLES = 400
MEL_BINS = 80
_SAMPLE_RATE = 16_000
_FFT_SIZE = 512
_MIN_HERTZ = 20.0
_FULL_SCALE = 32_768.0
_PREEMPHASIS = 0.97
_ENERGY_FLOOR = float(np.finfo(np.float32).eps)


def compute_fbank(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log mel energies of each whole frame.

    Args:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.

    Returns:
        float32, shape ``(frames, 80)``; frame ``i`` begins at sample ``i * HOP_SAMPLES``.
    """
    if audio.size < FRAME_SAMPLES:
        return np.zeros((0, MEL_BINS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME_SAMPLES)[::HOP_SAMPLES] * np.float32(
        _FULL_SCALE
    )
    frames -= frames.mean(axis=1, keepdims=True)
    frames[:, 1:] -= np.float32(_PREEMPHASIS) * frames[:, :-1]
    frames[:, 0] *= np.float32(1 - _PREEMPHASIS)
    window, filters = _build_tables()
    spectrum = np.fft.rfft(frames * window, _FFT_SIZE)[:, : filters.shape[0]]
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    energies: NDArray[np.float32] = np.log(np.maximum(power @ filters, _ENERGY_FLOOR))
    return energies


@cache
def _build_tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return Povey's window, shape ``(400,)``, and the mel filters, shape ``(256, 80)``."""
    edges = np.linspace(_hertz_to_mel(_MIN_HERTZ), _hertz_to_mel(_SAMPLE_RATE / 2), MEL_BINS + 2)
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    places = _hertz_to_mel(np.arange(_FFT_SIZE // 2) * _SAMPLE_RATE / _FFT_SIZE)[:, np.newaxis]
    rising, falling = (places - left) / (middle - left), (right - places) / (right - middle)
    filters = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return (np.hanning(FRAME_SAMPLES) ** 0.85).astype(np.float32), filters


def _hertz_to_mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    mels: NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hertz) / 700.0)
    return mels

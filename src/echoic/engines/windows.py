"""Checks that every engine makes of its windows: the sample rate, and digital silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.engine import Window

#: Peak amplitude below which a window is silent: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4


def check_sample_rate(window: Window, expected: int, engine: str) -> None:
    """Refuse a window at another sample rate.

    Args:
        window: The window to decode.
        expected: Samples per second that the engine reads.
        engine: The engine's name for the message.

    Raises:
        ValueError: The window has another sample rate.
    """
    if window.sample_rate != expected:
        raise ValueError(f"{engine} reads {expected} Hz, not {window.sample_rate} Hz.")


def is_silent(audio: NDArray[np.float32], min_samples: int = 1) -> bool:
    """Return whether there is nothing to decode: too few samples, or none of them above ``SILENCE_PEAK``.

    Args:
        audio: float32, shape ``(samples,)``, -1..1.
        min_samples: Samples below which the engine cannot read anything.
    """
    return len(audio) < min_samples or float(np.abs(audio).max()) < SILENCE_PEAK

from __future__ import annotations

import numpy as np
import pytest

from echoic.engines.windows import SILENCE_PEAK, check_sample_rate, is_silent
from echoic.interfaces.engine import Window


def build_window(rate: int) -> Window:
    return Window(np.ones(10, np.float32), rate, 0.0, left_context=0, new_samples=10, right_context=0)


def test_the_expected_sample_rate_passes() -> None:
    check_sample_rate(build_window(16_000), 16_000, "Parakeet")


def test_another_sample_rate_is_rejected() -> None:
    with pytest.raises(ValueError, match="Parakeet reads 16000 Hz, not 8000 Hz"):
        check_sample_rate(build_window(8_000), 16_000, "Parakeet")


@pytest.mark.parametrize(
    ("level", "silent"), [(0.0, True), (SILENCE_PEAK / 2, True), (-SILENCE_PEAK * 2, False), (0.5, False)]
)
def test_silence_depends_on_the_peak(level: float, *, silent: bool) -> None:
    assert is_silent(np.full(100, level, np.float32)) is silent


def test_too_few_samples_are_silent() -> None:
    assert is_silent(np.zeros(0, np.float32))
    assert is_silent(np.ones(99, np.float32), min_samples=100)
    assert not is_silent(np.ones(100, np.float32), min_samples=100)

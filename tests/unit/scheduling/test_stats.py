from __future__ import annotations

import numpy as np
import pytest

from echoic.interfaces.engine import Window
from echoic.scheduling.fair_queue import DecodeJob
from echoic.scheduling.stats import DECODE_TIME_BOUNDS, DecodeCounters


def build_job(seconds: float) -> DecodeJob:
    samples = round(8_000 * seconds)
    window = Window(np.zeros(samples, np.float32), 8_000, 0.0, 0, samples, 0)
    return DecodeJob("ann", 1, window, is_final=True)


def test_a_batch_adds_to_all_totals() -> None:
    counters = DecodeCounters()
    counters.record_batch([build_job(1.0), build_job(0.5)], failures=1, seconds=0.25)
    counters.record_batch([build_job(1.0)], failures=0, seconds=0.5)
    assert counters.batch_sizes == {2: 1, 1: 1}
    assert counters.failures == 1
    assert counters.audio_seconds == pytest.approx(2.5)
    assert counters.decode_seconds == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("seconds", "index"), [(0.0, 0), (0.005, 0), (0.006, 1), (30.0, 11), (31.0, len(DECODE_TIME_BOUNDS))]
)
def test_decode_times_are_counted_up_to_each_bound(seconds: float, index: int) -> None:
    counters = DecodeCounters()
    counters.record_batch([build_job(1.0)], failures=0, seconds=seconds)
    assert counters.time_counts.index(1) == index
    assert sum(counters.time_counts) == 1

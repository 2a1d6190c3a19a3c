from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.limits.meter import Meter

RATES = st.integers(8_000, 192_000)


@given(st.lists(st.integers(0, 200_000), max_size=40), RATES)
def test_however_audio_is_cut_it_costs_the_same(pieces: list[int], rate: int) -> None:
    meter = Meter()
    for samples in pieces:
        before = meter.heard
        cost = meter.cost(samples, rate)
        meter.hear(samples, rate)
        assert meter.heard - before == cost
    assert meter.heard == sum(pieces) * 1_000_000 // rate


@given(st.integers(0, 100_000), RATES, st.integers(0, 10_000_000))
def test_what_fits_is_the_most_that_costs_no_more(before: int, rate: int, budget: int) -> None:
    meter = Meter()
    meter.hear(before, rate)
    fits = meter.fitting(budget, rate)
    assert meter.cost(fits, rate) <= budget
    assert meter.cost(fits + 1, rate) > budget


@given(st.lists(st.tuples(st.integers(0, 200_000), RATES), max_size=40))
def test_changes_of_rate_lose_less_than_a_microsecond_together(pieces: list[tuple[int, int]]) -> None:
    meter = Meter()
    for samples, rate in pieces:
        meter.hear(samples, rate)
    exact = sum(samples * 1_000_000 / rate for samples, rate in pieces)
    assert exact - 1.01 - len(pieces) / 8_000 <= meter.heard <= exact + 1e-3


def test_an_hour_in_frames_of_ten_milliseconds_at_an_odd_rate_is_an_hour() -> None:
    meter = Meter()
    for _ in range(360_000):
        meter.hear(441, 44_100)
    assert meter.heard == 3_600_000_000

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.quotas.stream_quota import AudioMeter

RATES = st.integers(8_000, 192_000)


@given(st.lists(st.integers(0, 200_000), max_size=40), RATES)
def test_however_audio_is_cut_it_costs_the_same(pieces: list[int], rate: int) -> None:
    meter = AudioMeter()
    for samples in pieces:
        before = meter.consumed
        cost = meter.compute_cost(samples, rate)
        meter.add_samples(samples, rate)
        assert meter.consumed - before == cost
    assert meter.consumed == sum(pieces) * 1_000_000 // rate


@given(st.integers(0, 100_000), RATES, st.integers(0, 10_000_000))
def test_what_fits_is_the_most_that_costs_no_more(before: int, rate: int, budget: int) -> None:
    meter = AudioMeter()
    meter.add_samples(before, rate)
    fits = meter.count_affordable_samples(budget, rate)
    assert meter.compute_cost(fits, rate) <= budget
    assert meter.compute_cost(fits + 1, rate) > budget


@given(st.lists(st.tuples(st.integers(0, 200_000), RATES), max_size=40))
def test_changes_of_rate_lose_less_than_a_microsecond_together(pieces: list[tuple[int, int]]) -> None:
    meter = AudioMeter()
    for samples, rate in pieces:
        meter.add_samples(samples, rate)
    exact = sum(samples * 1_000_000 / rate for samples, rate in pieces)
    assert exact - 1.01 - len(pieces) / 8_000 <= meter.consumed <= exact + 1e-3


def test_an_hour_in_frames_of_ten_milliseconds_at_an_odd_rate_is_an_hour() -> None:
    meter = AudioMeter()
    for _ in range(360_000):
        meter.add_samples(441, 44_100)
    assert meter.consumed == 3_600_000_000

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.quotas.ledger import QuotaLedger
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.stream_quota import AudioMeter, build_minutes_refusal, build_streams_refusal

RATES = st.integers(8_000, 192_000)


@given(st.lists(st.integers(0, 200_000), max_size=40), RATES)
def test_audio_costs_the_same_in_chunks_of_any_size(chunks: list[int], rate: int) -> None:
    meter = AudioMeter()
    for samples in chunks:
        before = meter.consumed
        cost = meter.compute_cost(samples, rate)
        meter.add_samples(samples, rate)
        assert meter.consumed - before == cost
    assert meter.consumed == sum(chunks) * 1_000_000 // rate


@given(st.integers(0, 100_000), RATES, st.integers(0, 10_000_000))
def test_one_more_than_the_affordable_samples_costs_too_much(before: int, rate: int, budget: int) -> None:
    meter = AudioMeter()
    meter.add_samples(before, rate)
    affordable = meter.count_affordable_samples(budget, rate)
    assert meter.compute_cost(affordable, rate) <= budget
    assert meter.compute_cost(affordable + 1, rate) > budget


@given(st.lists(st.tuples(st.integers(0, 200_000), RATES), max_size=40))
def test_rate_changes_lose_less_than_a_microsecond(chunks: list[tuple[int, int]]) -> None:
    meter = AudioMeter()
    for samples, rate in chunks:
        meter.add_samples(samples, rate)
    exact = sum(samples * 1_000_000 / rate for samples, rate in chunks)
    assert exact - 1.01 - len(chunks) / 8_000 <= meter.consumed <= exact + 1e-3


def test_an_hour_in_10_ms_frames_at_44100_hz_is_an_hour() -> None:
    meter = AudioMeter()
    for _ in range(360_000):
        meter.add_samples(441, 44_100)
    assert meter.consumed == 3_600_000_000


async def test_a_local_grant_takes_less_than_20_microseconds() -> None:
    quota = await QuotaLedger(MemoryQuotaStore()).open_stream("ann", "standard")
    start = time.process_time()
    for _ in range(5_000):
        quota.grant_audio(320, 16_000)
    assert (time.process_time() - start) / 5_000 < 20e-6


@pytest.mark.parametrize("limit", [1, 3])
def test_the_refusal_of_a_stream_states_the_limit(limit: int) -> None:
    refusal = build_streams_refusal(limit, limit)
    assert refusal.message.startswith(f"Stream limit reached ({limit} of {limit}). ")
    assert refusal.detail == {"quota": "concurrent_streams", "limit": limit, "used": limit}


def test_the_refusal_of_minutes_tells_an_outage_from_the_daily_limit() -> None:
    daily = build_minutes_refusal(90_000_000, 90_000_000)
    assert daily.message.startswith("The daily limit of 1.5 minutes")
    assert daily.detail == {"quota": "daily_minutes", "limit": 1.5, "used": 1.5}
    outage = build_minutes_refusal(90_000_000, 90_000_000, is_failopen=True)
    assert outage.message.startswith("The quota store is unavailable")
    assert outage.detail == daily.detail

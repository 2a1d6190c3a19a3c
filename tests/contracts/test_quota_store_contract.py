"""One contract for every store of quotas."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoic.quotas.model import Charge, ChargeResult, QuotaStore, QuotaUsage, StreamLease, TierLimits
from echoic.quotas.stream_quota import AudioMeter
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from support.quota_fixtures import MakeStore

SECOND = 1_000_000
TTL = 60.0
BLINK = 0.06
ONE = TierLimits(max_streams=1)
ANNA, BERT, CARL = (StreamLease("ann", lease) for lease in ("a", "b", "c"))


def claim(
    place: StreamLease, wanted: int, *, paid: int = 0, heard: int | None = None, limit: int | None = None
) -> Charge:
    return Charge(place, paid, min(paid, wanted) if heard is None else heard, wanted, limit)


async def eventually_admitted(store: QuotaStore, place: StreamLease, allowance: TierLimits) -> None:
    begun = time.monotonic()
    while not (await store.acquire_lease(place, allowance, TTL)).is_admitted:
        assert time.monotonic() - begun < WAIT_SECONDS
        await asyncio.sleep(0.002)


# ---- places


async def test_a_released_lease_makes_room_for_another(store: QuotaStore) -> None:
    two = TierLimits(max_streams=2)
    answers = [await store.acquire_lease(place, two, TTL) for place in (ANNA, BERT, CARL)]
    assert [(one.is_admitted, one.active_streams) for one in answers] == [(True, 1), (True, 2), (False, 2)]
    await store.release_lease(ANNA)
    assert (await store.acquire_lease(CARL, two, TTL)).is_admitted
    assert await store.read_usage("ann") == QuotaUsage(2, 0)


async def test_without_a_limit_every_lease_is_granted(store: QuotaStore) -> None:
    for number in range(20):
        answer = await store.acquire_lease(StreamLease("ann", str(number)), TierLimits(), TTL)
        assert (answer.is_admitted, answer.active_streams) == (True, number + 1)


async def test_acquiring_and_releasing_are_idempotent(store: QuotaStore) -> None:
    for _ in range(2):
        answer = await store.acquire_lease(ANNA, ONE, TTL)
        assert (answer.is_admitted, answer.active_streams) == (True, 1)
    for _ in range(2):
        await store.release_lease(ANNA)
    assert (await store.read_usage("ann")).active_streams == 0


async def test_a_lease_expires_unless_renewed(store: QuotaStore) -> None:
    begun = time.monotonic()
    await store.acquire_lease(ANNA, ONE, BLINK)
    early = (await store.acquire_lease(BERT, ONE, TTL)).is_admitted
    assert not early or time.monotonic() - begun >= BLINK
    await eventually_admitted(store, BERT, ONE)
    assert (await store.read_usage("ann")).active_streams == 1


async def test_a_renewed_lease_is_kept_without_any_audio(store: QuotaStore) -> None:
    await store.acquire_lease(ANNA, ONE, BLINK)
    assert await store.renew_leases([(ANNA, ONE)], TTL) == [True]
    await asyncio.sleep(2 * BLINK)  # a lease has no event
    assert not (await store.acquire_lease(BERT, ONE, TTL)).is_admitted


async def test_renewing_acquires_an_expired_lease_if_possible(store: QuotaStore) -> None:
    await store.acquire_lease(ANNA, ONE, BLINK)
    await eventually_admitted(store, BERT, ONE)
    assert await store.renew_leases([(BERT, ONE), (ANNA, ONE)], TTL) == [True, False]
    assert (await store.read_usage("ann")).active_streams == 1
    await store.release_lease(BERT)
    assert await store.renew_leases([(ANNA, ONE)], TTL) == [True]
    assert not (await store.acquire_lease(BERT, ONE, TTL)).is_admitted


async def test_renewing_no_leases_is_allowed(store: QuotaStore) -> None:
    assert await store.renew_leases([], TTL) == []


@pytest.mark.parametrize("other", ["bob", "ann:streams", "}ann{", "a}n{n", "änn", "a b\r\n*1"])
async def test_users_are_separate_whatever_their_names(store: QuotaStore, other: str) -> None:
    await store.acquire_lease(ANNA, ONE, TTL)
    await store.charge_audio(claim(ANNA, 5))
    assert await store.read_usage(other) == QuotaUsage(0, 0)
    place = StreamLease(other, ANNA.lease_id)
    assert (await store.acquire_lease(place, ONE, TTL)).is_admitted
    assert await store.charge_audio(claim(place, 3)) == ChargeResult(3, 3)
    assert await store.read_usage("ann") == QuotaUsage(1, 5)


# ---- minutes


@pytest.mark.parametrize("frame", [0.01, 0.1, 0.5, 10.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
async def test_the_charge_does_not_depend_on_the_frame_size(
    store: QuotaStore, frame: float, rate: int
) -> None:
    meter, paid, samples = AudioMeter(), 0, round(frame * rate)
    for _ in range(round(20 / frame)):
        meter.add_samples(samples, rate)
        paid = (await store.charge_audio(claim(ANNA, meter.consumed, paid=paid))).paid
    assert await store.read_usage("ann") == QuotaUsage(0, 20 * SECOND)


async def test_a_charge_is_granted_up_to_the_limit(store: QuotaStore) -> None:
    limit = 10 * SECOND
    assert await store.charge_audio(claim(ANNA, 7 * SECOND, limit=limit)) == ChargeResult(
        7 * SECOND, 7 * SECOND
    )
    crossing = claim(BERT, 4 * SECOND, limit=limit)
    assert await store.charge_audio(crossing) == ChargeResult(3 * SECOND, limit)
    assert await store.charge_audio(claim(CARL, 1, limit=limit)) == ChargeResult(0, limit)


async def test_a_repeated_charge_counts_once(store: QuotaStore) -> None:
    for _ in range(3):
        assert await store.charge_audio(claim(ANNA, 4, paid=0)) == ChargeResult(4, 4)
    for _ in range(3):
        assert await store.charge_audio(claim(ANNA, 9, paid=0)) == ChargeResult(9, 9)


async def test_a_store_without_a_record_trusts_the_stream(store: QuotaStore) -> None:
    assert await store.charge_audio(claim(ANNA, 130, paid=100)) == ChargeResult(130, 30)


async def test_unconsumed_audio_is_refunded(store: QuotaStore) -> None:
    await store.charge_audio(claim(ANNA, 9))
    assert await store.charge_audio(claim(ANNA, 4, paid=9, heard=4)) == ChargeResult(4, 4)
    assert await store.charge_audio(claim(ANNA, 4, paid=9, heard=4)) == ChargeResult(4, 4)


async def test_usage_is_never_negative(store: QuotaStore) -> None:
    assert await store.charge_audio(claim(ANNA, 1, paid=1_000, heard=1)) == ChargeResult(1, 0)
    assert (await store.read_usage("ann")).used_microseconds == 0


async def test_consumed_audio_counts_beyond_the_limit(store: QuotaStore) -> None:
    late = claim(ANNA, 30, heard=25, limit=10)
    assert await store.charge_audio(late) == ChargeResult(25, 25)
    assert await store.charge_audio(claim(BERT, 1, limit=10)) == ChargeResult(0, 25)


async def test_a_user_without_minutes_gets_no_lease(store: QuotaStore) -> None:
    little = TierLimits(daily_microseconds=10)
    assert (await store.acquire_lease(ANNA, little, TTL)).is_admitted
    await store.charge_audio(claim(ANNA, 10, limit=10))
    answer = await store.acquire_lease(BERT, little, TTL)
    assert (answer.is_admitted, answer.active_streams, answer.used_microseconds) == (False, 1, 10)
    assert (await store.acquire_lease(ANNA, little, TTL)).is_admitted  # it has its place


async def test_a_limit_of_zero_minutes_grants_no_lease(store: QuotaStore) -> None:
    assert not (await store.acquire_lease(ANNA, TierLimits(daily_microseconds=0), TTL)).is_admitted


# ---- all at once


@dataclass(frozen=True)
class Step:
    stream: int
    what: str
    amount: int


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 3),
        st.sampled_from(["acquire", "renew", "release", "charge", "charge", "refund"]),
        st.integers(0, 40),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, streams=st.integers(0, 3), daily=st.integers(0, 100))
async def test_usage_stays_within_the_limits_in_any_order(
    fresh: MakeStore, steps: list[Step], streams: int, daily: int
) -> None:
    store, allowance = fresh(), TierLimits(daily, streams)
    places = [StreamLease("ann", str(number)) for number in range(4)]
    paid = [0] * 4

    async def take(step: Step) -> None:
        place, known = places[step.stream], paid[step.stream]
        match step.what:
            case "acquire":
                assert (await store.acquire_lease(place, allowance, TTL)).active_streams <= streams
            case "renew":
                await store.renew_leases([(place, allowance)], TTL)
            case "release":
                await store.release_lease(place)
            case "charge":
                receipt = await store.charge_audio(Charge(place, known, known, known + step.amount, daily))
                paid[step.stream] = receipt.paid
                assert receipt.used <= daily
            case "refund":
                left = max(0, known - step.amount)
                paid[step.stream] = (await store.charge_audio(Charge(place, known, left, left, daily))).paid
        usage = await store.read_usage("ann")
        assert 0 <= usage.active_streams <= streams
        assert 0 <= usage.used_microseconds <= daily

    async def one_stream(number: int) -> None:
        for step in steps:
            if step.stream == number:
                await take(step)

    try:
        await asyncio.gather(*(one_stream(number) for number in range(4)))
        assert (await store.read_usage("ann")).used_microseconds == sum(paid)
    finally:
        await store.close()

"""The contract of all quota stores."""

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
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from support.quota_stores import MakeStore

SECOND = 1_000_000
TTL = 60.0
SHORT_TTL = 0.06
ONE = TierLimits(max_streams=1)
LEASE_A, LEASE_B, LEASE_C = (StreamLease("ann", lease) for lease in ("a", "b", "c"))


def build_charge(
    lease: StreamLease,
    requested: int,
    *,
    paid: int = 0,
    consumed: int | None = None,
    limit: int | None = None,
) -> Charge:
    return Charge(lease, paid, min(paid, requested) if consumed is None else consumed, requested, limit)


async def wait_until_admitted(store: QuotaStore, lease: StreamLease, limits: TierLimits) -> None:
    start = time.monotonic()
    while not (await store.acquire_lease(lease, limits, TTL)).is_admitted:
        assert time.monotonic() - start < WAIT_SECONDS
        await asyncio.sleep(0.002)


# ---- leases


async def test_a_released_lease_makes_room_for_another(store: QuotaStore) -> None:
    two = TierLimits(max_streams=2)
    answers = [await store.acquire_lease(lease, two, TTL) for lease in (LEASE_A, LEASE_B, LEASE_C)]
    assert [(one.is_admitted, one.active_streams) for one in answers] == [(True, 1), (True, 2), (False, 2)]
    await store.release_lease(LEASE_A)
    assert (await store.acquire_lease(LEASE_C, two, TTL)).is_admitted
    assert await store.read_usage("ann") == QuotaUsage(2, 0)


async def test_without_a_limit_every_lease_is_granted(store: QuotaStore) -> None:
    for number in range(20):
        answer = await store.acquire_lease(StreamLease("ann", str(number)), TierLimits(), TTL)
        assert (answer.is_admitted, answer.active_streams) == (True, number + 1)


async def test_acquiring_and_releasing_are_idempotent(store: QuotaStore) -> None:
    for _ in range(2):
        answer = await store.acquire_lease(LEASE_A, ONE, TTL)
        assert (answer.is_admitted, answer.active_streams) == (True, 1)
    for _ in range(2):
        await store.release_lease(LEASE_A)
    assert (await store.read_usage("ann")).active_streams == 0


async def test_a_lease_expires_unless_renewed(store: QuotaStore) -> None:
    start = time.monotonic()
    await store.acquire_lease(LEASE_A, ONE, SHORT_TTL)
    early = (await store.acquire_lease(LEASE_B, ONE, TTL)).is_admitted
    assert not early or time.monotonic() - start >= SHORT_TTL
    await wait_until_admitted(store, LEASE_B, ONE)
    assert (await store.read_usage("ann")).active_streams == 1


async def test_a_renewed_lease_is_kept_without_any_audio(store: QuotaStore) -> None:
    await store.acquire_lease(LEASE_A, ONE, SHORT_TTL)
    assert await store.renew_leases([(LEASE_A, ONE)], TTL) == [True]
    await asyncio.sleep(2 * SHORT_TTL)  # the end of a lease has no event
    assert not (await store.acquire_lease(LEASE_B, ONE, TTL)).is_admitted


async def test_renewing_acquires_an_expired_lease_if_possible(store: QuotaStore) -> None:
    await store.acquire_lease(LEASE_A, ONE, SHORT_TTL)
    await wait_until_admitted(store, LEASE_B, ONE)
    assert await store.renew_leases([(LEASE_B, ONE), (LEASE_A, ONE)], TTL) == [True, False]
    assert (await store.read_usage("ann")).active_streams == 1
    await store.release_lease(LEASE_B)
    assert await store.renew_leases([(LEASE_A, ONE)], TTL) == [True]
    assert not (await store.acquire_lease(LEASE_B, ONE, TTL)).is_admitted


async def test_renewing_no_leases_is_allowed(store: QuotaStore) -> None:
    assert await store.renew_leases([], TTL) == []


@pytest.mark.parametrize("other", ["bob", "ann:streams", "}ann{", "a}n{n", "änn", "a b\r\n*1"])
async def test_users_are_separate_whatever_their_names(store: QuotaStore, other: str) -> None:
    await store.acquire_lease(LEASE_A, ONE, TTL)
    await store.charge_audio(build_charge(LEASE_A, 5))
    assert await store.read_usage(other) == QuotaUsage(0, 0)
    lease = StreamLease(other, LEASE_A.lease_id)
    assert (await store.acquire_lease(lease, ONE, TTL)).is_admitted
    assert await store.charge_audio(build_charge(lease, 3)) == ChargeResult(3, 3)
    assert await store.read_usage("ann") == QuotaUsage(1, 5)


# ---- charges


@pytest.mark.parametrize("frame", [0.01, 0.1, 0.5, 10.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
async def test_the_charge_does_not_depend_on_the_frame_size(
    store: QuotaStore, frame: float, rate: int
) -> None:
    meter, paid, samples = AudioMeter(), 0, round(frame * rate)
    for _ in range(round(20 / frame)):
        meter.add_samples(samples, rate)
        paid = (await store.charge_audio(build_charge(LEASE_A, meter.consumed, paid=paid))).paid
    assert await store.read_usage("ann") == QuotaUsage(0, 20 * SECOND)


async def test_a_charge_is_granted_up_to_the_limit(store: QuotaStore) -> None:
    limit = 10 * SECOND
    assert await store.charge_audio(build_charge(LEASE_A, 7 * SECOND, limit=limit)) == ChargeResult(
        7 * SECOND, 7 * SECOND
    )
    crossing = build_charge(LEASE_B, 4 * SECOND, limit=limit)
    assert await store.charge_audio(crossing) == ChargeResult(3 * SECOND, limit)
    assert await store.charge_audio(build_charge(LEASE_C, 1, limit=limit)) == ChargeResult(0, limit)


async def test_a_repeated_charge_counts_once(store: QuotaStore) -> None:
    for _ in range(3):
        assert await store.charge_audio(build_charge(LEASE_A, 4, paid=0)) == ChargeResult(4, 4)
    for _ in range(3):
        assert await store.charge_audio(build_charge(LEASE_A, 9, paid=0)) == ChargeResult(9, 9)


async def test_a_store_without_a_record_trusts_the_stream(store: QuotaStore) -> None:
    assert await store.charge_audio(build_charge(LEASE_A, 130, paid=100)) == ChargeResult(130, 30)


async def test_unconsumed_audio_is_refunded(store: QuotaStore) -> None:
    await store.charge_audio(build_charge(LEASE_A, 9))
    assert await store.charge_audio(build_charge(LEASE_A, 4, paid=9, consumed=4)) == ChargeResult(4, 4)
    assert await store.charge_audio(build_charge(LEASE_A, 4, paid=9, consumed=4)) == ChargeResult(4, 4)


async def test_usage_is_never_negative(store: QuotaStore) -> None:
    assert await store.charge_audio(build_charge(LEASE_A, 1, paid=1_000, consumed=1)) == ChargeResult(1, 0)
    assert (await store.read_usage("ann")).used_microseconds == 0


async def test_consumed_audio_counts_beyond_the_limit(store: QuotaStore) -> None:
    late = build_charge(LEASE_A, 30, consumed=25, limit=10)
    assert await store.charge_audio(late) == ChargeResult(25, 25)
    assert await store.charge_audio(build_charge(LEASE_B, 1, limit=10)) == ChargeResult(0, 25)


async def test_a_user_without_minutes_gets_no_lease(store: QuotaStore) -> None:
    little = TierLimits(daily_microseconds=10)
    assert (await store.acquire_lease(LEASE_A, little, TTL)).is_admitted
    await store.charge_audio(build_charge(LEASE_A, 10, limit=10))
    answer = await store.acquire_lease(LEASE_B, little, TTL)
    assert (answer.is_admitted, answer.active_streams, answer.used_microseconds) == (False, 1, 10)
    assert (await store.acquire_lease(LEASE_A, little, TTL)).is_admitted  # it has its lease


async def test_a_limit_of_zero_minutes_grants_no_lease(store: QuotaStore) -> None:
    assert not (await store.acquire_lease(LEASE_A, TierLimits(daily_microseconds=0), TTL)).is_admitted


# ---- concurrency


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
    store, limits = fresh(), TierLimits(daily, streams)
    leases = [StreamLease("ann", str(number)) for number in range(4)]
    paid = [0] * 4

    async def run_step(step: Step) -> None:
        lease, known = leases[step.stream], paid[step.stream]
        match step.what:
            case "acquire":
                assert (await store.acquire_lease(lease, limits, TTL)).active_streams <= streams
            case "renew":
                await store.renew_leases([(lease, limits)], TTL)
            case "release":
                await store.release_lease(lease)
            case "charge":
                result = await store.charge_audio(Charge(lease, known, known, known + step.amount, daily))
                paid[step.stream] = result.paid
                assert result.used <= daily
            case "refund":
                left = max(0, known - step.amount)
                paid[step.stream] = (await store.charge_audio(Charge(lease, known, left, left, daily))).paid
        usage = await store.read_usage("ann")
        assert 0 <= usage.active_streams <= streams
        assert 0 <= usage.used_microseconds <= daily

    async def one_stream(number: int) -> None:
        for step in steps:
            if step.stream == number:
                await run_step(step)

    try:
        await asyncio.gather(*(one_stream(number) for number in range(4)))
        assert (await store.read_usage("ann")).used_microseconds == sum(paid)
    finally:
        await store.close()

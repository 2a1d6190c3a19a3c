"""What belongs to a day, and what outlives it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import Charge, ChargeResult, QuotaUsage, StreamLease, TierLimits

if TYPE_CHECKING:
    from support.valkey import ValkeyServer

DAY = 86_400
ANNA = StreamLease("ann", "a")
ONE = TierLimits(max_streams=1)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_a_day_ends_at_midnight_utc_and_the_stream_goes_on() -> None:
    wall = Clock(20_000 * DAY - 0.001)
    store = MemoryQuotaStore(wall, Clock(0))
    assert await store.charge_audio(Charge(ANNA, 0, 0, 10, daily_limit=10)) == ChargeResult(10, 10)
    assert await store.charge_audio(Charge(ANNA, 10, 10, 15, daily_limit=10)) == ChargeResult(10, 10)
    wall.now += 0.002
    assert await store.read_usage("ann") == QuotaUsage(0, 0)
    assert await store.charge_audio(Charge(ANNA, 10, 10, 15, daily_limit=10)) == ChargeResult(15, 5)


async def test_a_clock_that_jumps_ends_no_lease_and_forgives_no_minutes() -> None:
    wall, steady = Clock(20_000 * DAY + 60), Clock(0)
    store = MemoryQuotaStore(wall, steady)
    await store.acquire_lease(ANNA, ONE, ttl_seconds=60)
    await store.charge_audio(Charge(ANNA, 0, 0, 10))
    wall.now += DAY
    assert await store.read_usage("ann") == QuotaUsage(1, 0)
    wall.now -= DAY
    assert await store.read_usage("ann") == QuotaUsage(1, 10)
    steady.now += 60
    assert (await store.read_usage("ann")).active_streams == 0


async def test_days_that_are_over_are_forgotten_with_everything_of_them() -> None:
    wall, steady = Clock(20_000 * DAY), Clock(0)
    store = MemoryQuotaStore(wall, steady)
    for number in range(100):
        place = StreamLease(f"user{number}", "a")
        await store.acquire_lease(place, ONE, ttl_seconds=1)
        await store.charge_audio(Charge(place, 0, 0, 10))
        await store.release_lease(place)
        wall.now += DAY
    assert len(store._used_by_day) <= 2  # noqa: SLF001  # what leaks there is seen nowhere else
    assert not store._paid_by_lease  # noqa: SLF001  # the same
    assert not store._expiry_by_user  # noqa: SLF001  # the same


async def test_in_redis_every_key_expires_and_only_days_beside_today_are_kept(valkey: ValkeyServer) -> None:
    store = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(valkey.url, prefix="days:")
    redis, today = store._client, int(time.time() // DAY)  # noqa: SLF001  # a look behind
    days = "days:{ann}:days"
    await redis.hset(days, mapping={str(today - 1): 5, str(today - 9): 7, str(today + 9): 7})
    assert await store.read_usage("ann") == QuotaUsage(0, 0)
    await store.acquire_lease(ANNA, ONE, 60.0)
    assert await store.charge_audio(Charge(ANNA, 0, 0, 3)) == ChargeResult(3, 3)
    assert {int(day) for day in await redis.hkeys(days)} <= {today - 1, today, today + 1}
    keys = [key async for key in redis.scan_iter("days:*")]
    assert len(keys) == 3
    assert all([0 < await redis.ttl(key) <= 2 * DAY for key in keys])
    await store.close()


async def test_what_a_dead_stream_had_paid_is_forgotten_with_its_place(valkey: ValkeyServer) -> None:
    store = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(valkey.url, prefix="dead:")
    await store.acquire_lease(ANNA, ONE, 0.01)
    await store.charge_audio(Charge(ANNA, 0, 0, 3))
    heir = StreamLease("ann", "heir")
    while not (await store.acquire_lease(heir, ONE, 60.0)).is_admitted:
        pass
    assert await store._client.hlen("dead:{ann}:paid") == 0  # noqa: SLF001  # a look behind
    await store.close()

from __future__ import annotations

from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import Charge, ChargeResult, QuotaUsage, StreamLease, TierLimits

DAY = 86_400
LEASE = StreamLease("ann", "a")
ONE = TierLimits(max_streams=1)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def test_usage_is_reset_at_midnight_utc() -> None:
    wall = Clock(20_000 * DAY - 0.001)
    store = MemoryQuotaStore(wall, Clock(0))
    assert await store.charge_audio(Charge(LEASE, 0, 0, 10, daily_limit=10)) == ChargeResult(10, 10)
    assert await store.charge_audio(Charge(LEASE, 10, 10, 15, daily_limit=10)) == ChargeResult(10, 10)
    wall.now += 0.002
    assert await store.read_usage("ann") == QuotaUsage(0, 0)
    assert await store.charge_audio(Charge(LEASE, 10, 10, 15, daily_limit=10)) == ChargeResult(15, 5)


async def test_a_wall_clock_jump_keeps_leases_and_usage() -> None:
    wall, monotonic = Clock(20_000 * DAY + 60), Clock(0)
    store = MemoryQuotaStore(wall, monotonic)
    await store.acquire_lease(LEASE, ONE, ttl_seconds=60)
    await store.charge_audio(Charge(LEASE, 0, 0, 10))
    wall.now += DAY
    assert await store.read_usage("ann") == QuotaUsage(1, 0)
    wall.now -= DAY
    assert await store.read_usage("ann") == QuotaUsage(1, 10)
    monotonic.now += 60
    assert (await store.read_usage("ann")).active_streams == 0


async def test_past_days_and_released_leases_leave_nothing_behind() -> None:
    wall, monotonic = Clock(20_000 * DAY), Clock(0)
    store = MemoryQuotaStore(wall, monotonic)
    for number in range(100):
        lease = StreamLease(f"user{number}", "a")
        await store.acquire_lease(lease, ONE, ttl_seconds=1)
        await store.charge_audio(Charge(lease, 0, 0, 10))
        await store.release_lease(lease)
        wall.now += DAY
    assert len(store._used_by_day) <= 2  # noqa: SLF001  # a leak shows nowhere else
    assert not store._paid_by_lease  # noqa: SLF001  # a leak shows nowhere else
    assert not store._expiry_by_user  # noqa: SLF001  # a leak shows nowhere else

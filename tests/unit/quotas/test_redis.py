from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from echoic.quotas.model import (
    Charge,
    ChargeResult,
    QuotaStoreUnavailable,
    QuotaUsage,
    StreamLease,
    TierLimits,
)

if TYPE_CHECKING:
    from support.database_servers import ValkeyServer

DAY = 86_400
LEASE = StreamLease("ann", "a")
ONE = TierLimits(max_streams=1)


async def test_every_key_expires_and_only_adjacent_days_are_kept(valkey: ValkeyServer) -> None:
    store = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(valkey.url, prefix="days:")
    redis, today = store._client, int(time.time() // DAY)  # noqa: SLF001  # the client of the store
    days = "days:{ann}:days"
    await redis.hset(days, mapping={str(today - 1): 5, str(today - 9): 7, str(today + 9): 7})
    assert await store.read_usage("ann") == QuotaUsage(0, 0)
    await store.acquire_lease(LEASE, ONE, 60.0)
    assert await store.charge_audio(Charge(LEASE, 0, 0, 3)) == ChargeResult(3, 3)
    assert {int(day) for day in await redis.hkeys(days)} <= {today - 1, today, today + 1}
    keys = [key async for key in redis.scan_iter("days:*")]
    assert len(keys) == 3
    assert all([0 < await redis.ttl(key) <= 2 * DAY for key in keys])
    await store.close()


async def test_an_expired_lease_takes_its_paid_total_along(valkey: ValkeyServer) -> None:
    store = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(valkey.url, prefix="dead:")
    await store.acquire_lease(LEASE, ONE, 0.01)
    await store.charge_audio(Charge(LEASE, 0, 0, 3))
    heir = StreamLease("ann", "heir")
    while not (await store.acquire_lease(heir, ONE, 60.0)).is_admitted:  # noqa: ASYNC110  # the end of a lease has no event
        await asyncio.sleep(0)
    assert await store._client.hlen("dead:{ann}:paid") == 0  # noqa: SLF001  # the client of the store
    await store.close()


async def test_an_unreachable_server_is_unavailable() -> None:
    store = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore("redis://127.0.0.1:1/0")
    for operation in (store.ping(), store.read_usage("ann"), store.renew_leases([(LEASE, ONE)], 60.0)):
        with pytest.raises(QuotaStoreUnavailable, match="ConnectionError"):
            await operation
    await store.close()

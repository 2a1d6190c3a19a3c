"""Quota stores in memory and in Valkey, and what tests of the ledger share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest

from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import QuotaStore
from echoic.quotas.stream_quota import StreamQuota
from echoic.quotas.tiers import Tiers
from support.database_servers import ValkeyServer
from support.timing import WAIT_SECONDS

RATE = 16_000
SECOND = 1_000_000
#: A user and its tier.
ANN = ("ann", "small")
ONE_STREAM = Tiers().with_overrides({"small": {"concurrent_streams": 1}})

_numbers = count()

#: Creates a store that shares no data with another.
MakeStore = Callable[[], QuotaStore]


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def fresh(request: pytest.FixtureRequest) -> MakeStore:
    """Create empty stores of one kind."""
    if request.param == "memory":
        return MemoryQuotaStore
    server: ValkeyServer = request.getfixturevalue("valkey")
    redis = pytest.importorskip("echoic.quotas.redis")
    return lambda: redis.RedisQuotaStore(
        server.url, prefix=f"test{next(_numbers)}:", timeout_seconds=WAIT_SECONDS
    )


@pytest.fixture
async def store(fresh: MakeStore) -> AsyncIterator[QuotaStore]:
    store = fresh()
    yield store
    await store.close()


async def request_audio(quota: StreamQuota, samples: int, rate: int = RATE) -> int:
    """Request samples until the quota answers, as a connection does; return how many it granted."""
    while (granted := quota.grant_audio(samples, rate)) is None:
        await quota.wait_for_grant()
    return granted

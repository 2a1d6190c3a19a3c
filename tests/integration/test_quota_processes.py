"""Eight processes that share a user through a real server, and one that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest

from echoic.quotas.model import QuotaUsage, StreamLease, TierLimits
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from echoic.quotas.redis import RedisQuotaStore
    from support.database_servers import ValkeyServer

SECOND = 1_000_000
_numbers = count()

#: Opens streams and requests frames until no minutes are left; prints the granted samples.
_STREAMS = """
import asyncio, sys
from echoic.errors import AccessRefused
from echoic.quotas.ledger import QuotaLedger, QuotaPolicy
from echoic.quotas.redis import RedisQuotaStore
from echoic.quotas.tiers import Tiers

url, prefix, frame, streams = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tiers = Tiers().with_overrides({"small": {"daily_minutes": 1, "concurrent_streams": streams}})

async def main():
    store = RedisQuotaStore(url, prefix=prefix, timeout_seconds=20.0)
    ledger = QuotaLedger(store, QuotaPolicy(tiers))
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    sys.stdin.readline()
    total = max_active = 0
    while True:
        try:
            quota = await ledger.open_stream("ann", "small")
        except AccessRefused as refusal:
            if refusal.detail["quota"] == "daily_minutes":
                break
            max_active = max(max_active, int(refusal.detail["used"]))
            continue
        for _ in range(40):
            while (granted := quota.grant_audio(frame, 16_000)) is None:
                await quota.wait_for_grant()
            total += granted
            usage = await store.read_usage("ann")
            max_active = max(max_active, usage.active_streams)
            assert 0 <= usage.used_microseconds <= 60_000_000
        await ledger.close_stream(quota)
    assert not ledger.is_store_unavailable
    await ledger.close()
    print(total, max_active)

asyncio.run(main())
"""

#: Acquires a lease, charges one second, then waits to be killed.
_VICTIM = """
import asyncio, sys
from echoic.quotas.model import TierLimits, Charge, StreamLease
from echoic.quotas.redis import RedisQuotaStore

async def main():
    store = RedisQuotaStore(sys.argv[1], prefix=sys.argv[2])
    lease = StreamLease("ann", "victim")
    assert (await store.acquire_lease(lease, TierLimits(max_streams=1), float(sys.argv[3]))).is_admitted
    await store.charge_audio(Charge(lease, 0, 1_000_000, 1_000_000))
    print("ready", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


@pytest.fixture
def prefix() -> str:
    return f"processes{next(_numbers)}:"


@pytest.fixture
async def store(valkey: ValkeyServer, prefix: str) -> AsyncIterator[RedisQuotaStore]:
    store: RedisQuotaStore = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(
        valkey.url, prefix=prefix
    )
    yield store
    await store.close()


def start_process(program: str, *args: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )


def is_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "ready\n"


async def test_eight_processes_share_the_limits_of_a_user(
    store: RedisQuotaStore, valkey: ValkeyServer, prefix: str
) -> None:
    frames = [160, 160, 1_600, 1_600, 8_000, 8_000, 160_000, 160_000]  # 10 ms, 100 ms, 0.5 s, 10 s
    processes = [start_process(_STREAMS, valkey.url, prefix, str(frame), "3") for frame in frames]
    try:
        assert all([await asyncio.to_thread(is_ready, process) for process in processes])
        outputs = await asyncio.gather(
            *(asyncio.to_thread(process.communicate, "go\n", WAIT_SECONDS) for process in processes)
        )
    finally:
        for process in processes:
            process.kill()
    answers = [tuple(map(int, text.split())) for text, _ in outputs]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert max(max_active for _, max_active in answers) <= 3
    assert sum(total for total, _ in answers) == 60 * 16_000
    assert await store.read_usage("ann") == QuotaUsage(0, 60 * SECOND)


async def test_the_lease_of_a_killed_process_expires_in_time(
    store: RedisQuotaStore, valkey: ValkeyServer, prefix: str
) -> None:
    ttl, one = 2.0, TierLimits(max_streams=1)
    victim = start_process(_VICTIM, valkey.url, prefix, str(ttl))
    try:
        assert await asyncio.to_thread(is_ready, victim)
    finally:
        victim.kill()
        victim.communicate(timeout=WAIT_SECONDS)
    heir, refused, start = StreamLease("ann", "heir"), 0, time.monotonic()
    while not (await store.acquire_lease(heir, one, 60.0)).is_admitted:
        refused += 1
        assert time.monotonic() - start < WAIT_SECONDS
        await asyncio.sleep(0.005)
    assert refused
    assert await store.read_usage("ann") == QuotaUsage(1, SECOND)

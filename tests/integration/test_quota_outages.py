"""Outages of the quota store: a Redis server is killed, frozen and restarted while streams run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.quotas.ledger import QuotaLedger, QuotaPolicy
from echoic.quotas.model import QuotaUsage
from echoic.quotas.tiers import Tiers
from support.database_servers import ValkeyServer
from support.quota_stores import ANN, ONE_STREAM, RATE, SECOND, request_audio
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from echoic.quotas.redis import RedisQuotaStore

TIERS = Tiers().with_overrides({"small": {"daily_minutes": 1, "concurrent_streams": 2}})
FAILOPEN = 3 * SECOND


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def timeout_seconds() -> float:
    """The timeout of the store, in seconds."""
    return WAIT_SECONDS


@pytest.fixture
async def store(server: ValkeyServer, timeout_seconds: float) -> AsyncIterator[RedisQuotaStore]:
    store: RedisQuotaStore = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(
        server.url, timeout_seconds=timeout_seconds
    )
    yield store
    await store.close()


@pytest.fixture
async def ledger(store: RedisQuotaStore) -> AsyncIterator[QuotaLedger]:
    ledger = QuotaLedger(store, QuotaPolicy(TIERS, failopen_microseconds=FAILOPEN, retry_interval=0.01))
    yield ledger
    await ledger.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # the condition has no event
        await asyncio.sleep(0)


async def test_running_streams_go_on_and_are_charged_once_afterwards(
    ledger: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    stays, leaves = await ledger.open_stream(*ANN), await ledger.open_stream(*ANN)
    for quota in (stays, leaves):
        await request_audio(quota, RATE)
    server.kill()
    for quota in (stays, leaves):
        for _ in range(10):
            assert await request_audio(quota, RATE) == RATE
    await ledger.close_stream(leaves)
    assert ledger.is_store_unavailable
    server.start()
    await ledger.renew_leases()
    assert not ledger.is_store_unavailable
    status = await ledger.inspect_status(*ANN)
    assert (status.active_streams, status.used_microseconds) == (1, 22 * SECOND)
    await ledger.renew_leases()
    await ledger.close_stream(stays)
    assert await store.read_usage("ann") == QuotaUsage(0, 22 * SECOND)


async def test_new_streams_use_the_fail_open_minutes_and_pay_later(
    ledger: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    server.kill()
    first, second = await ledger.open_stream(*ANN), await ledger.open_stream(*ANN)
    with pytest.raises(AccessRefused) as many:
        await ledger.open_stream(*ANN)
    assert many.value.detail == {"quota": "concurrent_streams", "limit": 2, "used": 2}
    status = await ledger.inspect_status(*ANN)
    assert (status.active_streams, status.used_microseconds, status.can_open_stream) == (2, None, False)
    assert await request_audio(first, 2 * RATE) == 2 * RATE
    assert await request_audio(second, 2 * RATE) == RATE
    assert second.refusal is not None
    assert second.refusal.detail == {"quota": "daily_minutes", "limit": 0.05, "used": 0.05}
    await ledger.close_stream(second)
    with pytest.raises(AccessRefused) as spent:
        await ledger.open_stream(*ANN)
    assert spent.value.detail["quota"] == "daily_minutes"
    server.start()
    await ledger.renew_leases()
    assert await request_audio(first, 2 * RATE) == 2 * RATE
    await ledger.close_stream(first)
    assert await store.read_usage("ann") == QuotaUsage(0, 5 * SECOND)


async def test_audio_beyond_the_limit_is_charged_and_ends_the_stream(
    ledger: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    quota = await ledger.open_stream(*ANN)
    await request_audio(quota, RATE)
    server.kill()
    for _ in range(70):
        assert await request_audio(quota, RATE) == RATE
    server.start()
    await ledger.renew_leases()
    assert await request_audio(quota, RATE) == 0
    assert quota.refusal is not None
    assert quota.refusal.detail["used"] == pytest.approx(71 / 60)
    await ledger.close_stream(quota)
    assert await store.read_usage("ann") == QuotaUsage(0, 71 * SECOND)


async def test_every_sample_is_charged_once_whenever_the_store_dies(
    ledger: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    user = ("bob", "premium")
    granted = 0
    stop = asyncio.Event()

    async def run_streams() -> None:
        nonlocal granted
        while not stop.is_set():
            quota = await ledger.open_stream(*user)
            for number in range(50):
                granted += await request_audio(quota, 1_000 + number)
                await asyncio.sleep(0)
            await ledger.close_stream(quota)

    async def wait_for_more() -> None:
        target = granted + 40 * RATE
        await wait_until(lambda: granted > target)

    async def cause_faults() -> None:
        for _ in range(4):
            await wait_for_more()
            await asyncio.to_thread(server.kill)
            await wait_for_more()
            await asyncio.to_thread(server.start)
            while ledger.is_store_unavailable:
                await ledger.renew_leases()
        stop.set()

    await asyncio.gather(run_streams(), run_streams(), cause_faults())
    while ledger.is_store_unavailable:
        await ledger.renew_leases()
    billed = (await store.read_usage("bob")).used_microseconds
    assert billed <= granted * SECOND // RATE
    assert (
        granted * SECOND // RATE - billed < granted / 50_000 + 10
    )  # each stream's last fraction of a microsecond
    assert (await store.read_usage("bob")).active_streams == 0


@pytest.mark.parametrize("timeout_seconds", [0.2])
async def test_a_silent_store_delays_no_audio(
    ledger: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    quota = await ledger.open_stream(*ANN)
    await request_audio(quota, RATE)
    server.freeze()
    frames = 0
    while not ledger.is_store_unavailable or frames < 120:
        assert quota.grant_audio(RATE // 50, RATE) == RATE // 50  # at once
        frames += 1
        await asyncio.sleep(0.02)  # live audio
    assert frames < 10_000
    server.thaw()
    while ledger.is_store_unavailable:
        await ledger.renew_leases()
    await ledger.close_stream(quota)
    assert await store.read_usage("ann") == QuotaUsage(0, (RATE + frames * RATE // 50) * SECOND // RATE)


async def test_the_ledger_notices_the_end_of_an_outage(ledger: QuotaLedger, server: ValkeyServer) -> None:
    running = asyncio.create_task(ledger.run_renewals())
    quota = await ledger.open_stream(*ANN)
    await request_audio(quota, RATE)
    server.kill()
    await ledger.renew_leases()
    assert ledger.is_store_unavailable
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(WAIT_SECONDS):
        await wait_until(lambda: not ledger.is_store_unavailable)
    running.cancel()
    assert (await ledger.inspect_status(*ANN)).used_microseconds == SECOND


async def test_a_store_that_lost_its_data_relearns_running_streams(
    ledger: QuotaLedger, store: RedisQuotaStore
) -> None:
    quota = await ledger.open_stream(*ANN)
    await request_audio(quota, RATE)
    await store._client.flushall()  # noqa: SLF001  # the fault
    await ledger.renew_leases()
    assert (await store.read_usage("ann")).active_streams == 1
    for _ in range(5):
        await request_audio(quota, RATE)
    await ledger.close_stream(quota)
    assert 3 * SECOND <= (await store.read_usage("ann")).used_microseconds <= 6 * SECOND


async def test_leases_taken_by_others_end_no_running_stream(
    ledger: QuotaLedger, store: RedisQuotaStore
) -> None:
    quotas = [await ledger.open_stream(*ANN), await ledger.open_stream(*ANN)]
    await store._client.flushall()  # noqa: SLF001  # the fault
    other = QuotaLedger(store, QuotaPolicy(TIERS))
    await other.open_stream(*ANN)
    await ledger.renew_leases()
    assert (await store.read_usage("ann")).active_streams == 2
    assert [await request_audio(quota, RATE) for quota in quotas] == [RATE, RATE]


async def test_an_idle_ledger_notices_an_outage_and_its_end(
    ledger: QuotaLedger, server: ValkeyServer
) -> None:
    running = asyncio.create_task(ledger.run_renewals())
    server.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await ledger.store_unavailable.wait()
        server.start()
        await wait_until(lambda: not ledger.is_store_unavailable)
    running.cancel()


async def test_an_absent_store_is_noticed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    store: RedisQuotaStore = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(
        "redis://127.0.0.1:1/0"
    )
    ledger = QuotaLedger(store, QuotaPolicy(TIERS, retry_interval=3600))
    running = asyncio.create_task(ledger.run_renewals())
    async with asyncio.timeout(WAIT_SECONDS):
        await ledger.store_unavailable.wait()
    running.cancel()
    assert "quota.store_away" in caplog.text
    await ledger.close()


async def test_a_silent_stream_keeps_its_lease_while_its_process_lives(store: RedisQuotaStore) -> None:
    ttl = 1.5  # longer than a pause of a busy machine
    ledger, other = (
        QuotaLedger(store, QuotaPolicy(ONE_STREAM, lease_ttl=ttl)),
        QuotaLedger(store, QuotaPolicy(ONE_STREAM, lease_ttl=ttl)),
    )
    renewing = asyncio.create_task(ledger.run_renewals())
    await ledger.open_stream(*ANN)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5 * ttl
    while loop.time() < end:
        with pytest.raises(AccessRefused):
            await other.open_stream(*ANN)
        await asyncio.sleep(ttl / 10)
    renewing.cancel()
    while (await store.read_usage("ann")).active_streams:  # noqa: ASYNC110  # the end of a lease has no event
        await asyncio.sleep(ttl / 10)
    await other.open_stream(*ANN)
    await asyncio.gather(ledger.close(), other.close())

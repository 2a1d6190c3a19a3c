"""A real server that is killed, frozen and started again while streams run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.quotas.ledger import QuotaLedger, QuotaPolicy
from echoic.quotas.model import QuotaUsage
from echoic.quotas.tiers import Tiers
from support.patience import WAIT_SECONDS
from support.valkey import ValkeyServer
from unit.quotas.test_ledger import RATE, SECOND, hear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from echoic.quotas.redis import RedisQuotaStore

ANN = ("ann", "team")
TIERS = Tiers().with_overrides({"team": {"daily_minutes": 1, "concurrent_streams": 2}})
#: Three seconds.
LENT = 3 * SECOND


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def patience() -> float:
    """Seconds after which an answer of the store is not waited for any more."""
    return WAIT_SECONDS


@pytest.fixture
async def store(server: ValkeyServer, patience: float) -> AsyncIterator[RedisQuotaStore]:
    store: RedisQuotaStore = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(
        server.url, patience=patience
    )
    yield store
    await store.close()


@pytest.fixture
async def desk(store: RedisQuotaStore) -> AsyncIterator[QuotaLedger]:
    desk = QuotaLedger(store, QuotaPolicy(TIERS, failopen_microseconds=LENT, retry_interval=0.01))
    yield desk
    await desk.close()


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


async def test_streams_that_run_go_on_and_are_billed_once_when_it_is_back(
    desk: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    stays, leaves = await desk.open_stream(*ANN), await desk.open_stream(*ANN)
    for account in (stays, leaves):
        await hear(account, RATE)
    server.kill()
    for account in (stays, leaves):
        for _ in range(10):
            assert await hear(account, RATE) == RATE
    await desk.close_stream(leaves)
    assert desk.is_store_unavailable
    server.start()
    await desk.renew_leases()
    assert not desk.is_store_unavailable
    standing = await desk.inspect_status(*ANN)
    assert (standing.active_streams, standing.used_microseconds) == (1, 22 * SECOND)
    await desk.renew_leases()
    await desk.close_stream(stays)
    assert await store.read_usage("ann") == QuotaUsage(0, 22 * SECOND)


async def test_new_streams_hear_what_is_lent_and_pay_it_back(
    desk: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    server.kill()
    first, second = await desk.open_stream(*ANN), await desk.open_stream(*ANN)
    with pytest.raises(AccessRefused) as many:
        await desk.open_stream(*ANN)
    assert many.value.detail == {"quota": "concurrent_streams", "limit": 2, "used": 2}
    standing = await desk.inspect_status(*ANN)
    assert (standing.active_streams, standing.used_microseconds, standing.can_open_stream) == (2, None, False)
    assert await hear(first, 2 * RATE) == 2 * RATE
    assert await hear(second, 2 * RATE) == RATE
    assert second.refusal is not None
    assert second.refusal.detail == {"quota": "daily_minutes", "limit": 0.05, "used": 0.05}
    await desk.close_stream(second)
    with pytest.raises(AccessRefused) as spent:
        await desk.open_stream(*ANN)
    assert spent.value.detail["quota"] == "daily_minutes"
    server.start()
    await desk.renew_leases()
    assert await hear(first, 2 * RATE) == 2 * RATE
    await desk.close_stream(first)
    assert await store.read_usage("ann") == QuotaUsage(0, 5 * SECOND)


async def test_what_was_heard_beyond_the_limit_is_billed_and_then_the_stream_ends(
    desk: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    account = await desk.open_stream(*ANN)
    await hear(account, RATE)
    server.kill()
    for _ in range(70):
        assert await hear(account, RATE) == RATE
    server.start()
    await desk.renew_leases()
    assert await hear(account, RATE) == 0
    assert account.refusal is not None
    assert account.refusal.detail["used"] == pytest.approx(71 / 60)
    await desk.close_stream(account)
    assert await store.read_usage("ann") == QuotaUsage(0, 71 * SECOND)


async def test_whenever_it_is_killed_every_sample_is_billed_exactly_once(
    desk: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    user = ("bob", "premium")
    heard = 0
    stop = asyncio.Event()

    async def streams() -> None:
        nonlocal heard
        while not stop.is_set():
            account = await desk.open_stream(*user)
            for number in range(50):
                heard += await hear(account, 1_000 + number)
                await asyncio.sleep(0)
            await desk.close_stream(account)

    async def more_is_heard() -> None:
        least = heard + 40 * RATE
        await until(lambda: heard > least)

    async def faults() -> None:
        for _ in range(4):
            await more_is_heard()
            await asyncio.to_thread(server.kill)
            await more_is_heard()
            await asyncio.to_thread(server.start)
            while desk.is_store_unavailable:
                await desk.renew_leases()
        stop.set()

    await asyncio.gather(streams(), streams(), faults())
    while desk.is_store_unavailable:
        await desk.renew_leases()
    billed = (await store.read_usage("bob")).used_microseconds
    assert billed <= heard * SECOND // RATE
    assert heard * SECOND // RATE - billed < heard / 50_000 + 10  # each stream's last part of a microsecond
    assert (await store.read_usage("bob")).active_streams == 0


@pytest.mark.parametrize("patience", [0.2])
async def test_one_that_does_not_answer_counts_as_away_and_delays_no_audio(
    desk: QuotaLedger, store: RedisQuotaStore, server: ValkeyServer
) -> None:
    account = await desk.open_stream(*ANN)
    await hear(account, RATE)
    server.freeze()
    frames = 0
    while not desk.is_store_unavailable or frames < 120:
        assert account.grant_audio(RATE // 50, RATE) == RATE // 50  # at once
        frames += 1
        await asyncio.sleep(0.02)  # as a client that speaks
    assert frames < 10_000
    server.thaw()
    while desk.is_store_unavailable:
        await desk.renew_leases()
    await desk.close_stream(account)
    assert await store.read_usage("ann") == QuotaUsage(0, (RATE + frames * RATE // 50) * SECOND // RATE)


async def test_the_desk_finds_out_by_itself(desk: QuotaLedger, server: ValkeyServer) -> None:
    running = asyncio.create_task(desk.run_renewals())
    account = await desk.open_stream(*ANN)
    await hear(account, RATE)
    server.kill()
    await desk.renew_leases()
    assert desk.is_store_unavailable
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(WAIT_SECONDS):
        await until(lambda: not desk.is_store_unavailable)
    running.cancel()
    assert (await desk.inspect_status(*ANN)).used_microseconds == SECOND


async def test_a_server_that_forgot_everything_learns_of_running_streams(
    desk: QuotaLedger, store: RedisQuotaStore
) -> None:
    account = await desk.open_stream(*ANN)
    await hear(account, RATE)
    await store._client.flushall()  # noqa: SLF001  # the fault
    await desk.renew_leases()
    assert (await store.read_usage("ann")).active_streams == 1
    for _ in range(5):
        await hear(account, RATE)
    await desk.close_stream(account)
    assert 3 * SECOND <= (await store.read_usage("ann")).used_microseconds <= 6 * SECOND


async def test_places_that_are_taken_meanwhile_end_no_stream(
    desk: QuotaLedger, store: RedisQuotaStore
) -> None:
    accounts = [await desk.open_stream(*ANN), await desk.open_stream(*ANN)]
    await store._client.flushall()  # noqa: SLF001  # the fault
    other = QuotaLedger(store, QuotaPolicy(TIERS))
    await other.open_stream(*ANN)
    await desk.renew_leases()
    assert (await store.read_usage("ann")).active_streams == 2
    assert [await hear(account, RATE) for account in accounts] == [RATE, RATE]


async def test_an_idle_desk_finds_that_the_store_goes_and_that_it_is_back(
    desk: QuotaLedger, server: ValkeyServer
) -> None:
    running = asyncio.create_task(desk.run_renewals())
    server.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await desk.store_unavailable.wait()
        server.start()
        await until(lambda: not desk.is_store_unavailable)
    running.cancel()


async def test_a_desk_whose_store_was_never_there_finds_it_at_once(caplog: pytest.LogCaptureFixture) -> None:
    store: RedisQuotaStore = pytest.importorskip("echoic.quotas.redis").RedisQuotaStore(
        "redis://127.0.0.1:1/0"
    )
    desk = QuotaLedger(store, QuotaPolicy(TIERS, retry_interval=3600))
    running = asyncio.create_task(desk.run_renewals())
    async with asyncio.timeout(WAIT_SECONDS):
        await desk.store_unavailable.wait()
    running.cancel()
    assert "quota.store_away" in caplog.text
    await desk.close()

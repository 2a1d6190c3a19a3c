from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.quotas.ledger import QuotaLedger, QuotaPolicy
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import QuotaUsage
from echoic.quotas.tiers import Tiers
from support.quota_stores import ANN, ONE_STREAM, RATE, SECOND, request_audio
from support.timing import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from echoic.quotas.model import QuotaStore

#: Twelve seconds of audio, two streams.
TIERS = Tiers().with_overrides({"small": {"daily_minutes": 0.2, "concurrent_streams": 2}})


@pytest.fixture
def refusals() -> list[str]:
    return []


@pytest.fixture
async def ledger(store: QuotaStore, refusals: list[str]) -> AsyncIterator[QuotaLedger]:
    ledger = QuotaLedger(store, QuotaPolicy(TIERS, count_refusal=refusals.append))
    yield ledger
    await ledger.close()


@pytest.mark.parametrize("frame", [160, 1_600, 8_000, 31_999])
async def test_exactly_the_daily_minutes_are_granted(
    ledger: QuotaLedger, store: QuotaStore, refusals: list[str], frame: int
) -> None:
    quota = await ledger.open_stream(*ANN)
    heard = 0
    while quota.refusal is None:
        heard += await request_audio(quota, frame)
        if len(refusals) == 0:
            assert (await store.read_usage("ann")).used_microseconds <= 12 * SECOND
    assert heard == 12 * RATE
    assert quota.refusal.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert refusals == ["daily_minutes"]
    assert await request_audio(quota, frame) == 0
    await ledger.close_stream(quota)
    assert await store.read_usage("ann") == QuotaUsage(0, 12 * SECOND)


async def test_granted_audio_is_charged_exactly(ledger: QuotaLedger, store: QuotaStore) -> None:
    quota = await ledger.open_stream(*ANN)
    for rate in (44_100, 8_000):
        for _ in range(150):
            assert await request_audio(quota, rate // 100, rate) == rate // 100
    status = await ledger.inspect_status(*ANN)
    assert (status.active_streams, status.used_microseconds) == (1, 3 * SECOND)
    await ledger.close_stream(quota)
    assert await store.read_usage("ann") == QuotaUsage(0, 3 * SECOND)


async def test_streams_of_a_user_share_the_daily_minutes(ledger: QuotaLedger, store: QuotaStore) -> None:
    quotas = [await ledger.open_stream(*ANN), await ledger.open_stream(*ANN)]
    heard = [0, 0]

    async def stream(number: int) -> None:
        while quotas[number].refusal is None:
            heard[number] += await request_audio(quotas[number], 1_600)
            await asyncio.sleep(0)

    await asyncio.gather(stream(0), stream(1))
    assert sum(heard) == 12 * RATE
    await asyncio.gather(*map(ledger.close_stream, quotas))
    assert await store.read_usage("ann") == QuotaUsage(0, 12 * SECOND)


async def test_a_closing_stream_makes_room_for_the_next(ledger: QuotaLedger, refusals: list[str]) -> None:
    first, _ = await ledger.open_stream(*ANN), await ledger.open_stream(*ANN)
    with pytest.raises(AccessRefused) as refused:
        await ledger.open_stream(*ANN)
    assert refused.value.detail == {"quota": "concurrent_streams", "limit": 2, "used": 2}
    assert not (await ledger.inspect_status(*ANN)).can_open_stream
    leaving = ledger.close_stream(first)
    await ledger.open_stream(*ANN)
    await leaving
    assert refusals == ["concurrent_streams"]


async def test_a_user_without_minutes_is_refused(ledger: QuotaLedger) -> None:
    quota = await ledger.open_stream(*ANN)
    await request_audio(quota, 30 * RATE)
    with pytest.raises(AccessRefused) as refused:
        await ledger.open_stream(*ANN)
    assert refused.value.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert not (await ledger.inspect_status(*ANN)).can_open_stream


async def test_an_unlimited_user_is_counted_and_never_refused(ledger: QuotaLedger, store: QuotaStore) -> None:
    local = ("local", "local")
    quota = await ledger.open_stream(*local)
    assert await request_audio(quota, 3_600 * RATE) == 3_600 * RATE
    await ledger.close_stream(quota)
    assert await store.read_usage("local") == QuotaUsage(0, 3_600 * SECOND)


async def test_closing_every_stream_charges_all_of_them(ledger: QuotaLedger, store: QuotaStore) -> None:
    await request_audio(await ledger.open_stream(*ANN), RATE)
    await request_audio(await ledger.open_stream(*ANN), RATE // 2)
    tasks = [ledger.close_stream(quota) for quota in tuple(ledger._open_quotas)]  # noqa: SLF001  # as ``close`` does
    await asyncio.gather(*tasks)
    assert await store.read_usage("ann") == QuotaUsage(0, 3 * SECOND // 2)


async def test_300_streams_that_end_at_once_are_all_charged(ledger: QuotaLedger, store: QuotaStore) -> None:
    users = [(f"user{number}", "premium") for number in range(150)]
    quotas = await asyncio.gather(*(ledger.open_stream(*user) for user in users for _ in range(2)))
    heard = await asyncio.gather(*(request_audio(quota, 3 * RATE) for quota in quotas))
    assert heard == [3 * RATE] * 300
    await asyncio.gather(*map(ledger.close_stream, quotas))
    assert not ledger.is_store_unavailable
    usages = await asyncio.gather(*(store.read_usage(user) for user, _ in users))
    assert usages == [QuotaUsage(0, 6 * SECOND)] * 150


async def test_a_cancelled_wait_leaves_no_task_behind(ledger: QuotaLedger) -> None:
    quota = await ledger.open_stream(*ANN)
    if quota.grant_audio(RATE, RATE) is None:
        before = asyncio.all_tasks()
        waiting = asyncio.create_task(quota.wait_for_grant())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await ledger.close_stream(quota)
        assert asyncio.all_tasks() <= before


def test_a_silent_stream_keeps_its_lease_while_its_process_lives() -> None:
    async def run() -> None:
        clock = asyncio.get_running_loop().time
        store, tiers = MemoryQuotaStore(monotonic_clock=clock), ONE_STREAM
        ledger, other = (QuotaLedger(store, QuotaPolicy(tiers, lease_ttl=120)) for _ in range(2))
        renewals = asyncio.create_task(ledger.run_renewals())
        await ledger.open_stream(*ANN)
        for _ in range(20):
            await asyncio.sleep(30)
            with pytest.raises(AccessRefused):
                await other.open_stream(*ANN)
        renewals.cancel()
        await asyncio.sleep(121)
        await other.open_stream(*ANN)
        await asyncio.gather(ledger.close(), other.close())

    run_in_virtual_time(run())

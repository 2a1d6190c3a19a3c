"""Streams at the desk, with a store at hand and with a real server that is waited for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.quotas.ledger import QuotaLedger, QuotaPolicy
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import QuotaUsage
from echoic.quotas.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from echoic.quotas.model import QuotaStore
    from echoic.quotas.stream_quota import StreamQuota

RATE = 16_000
SECOND = 1_000_000
ANN = ("ann", "small")
#: Twelve seconds of audio, two streams.
TIERS = Tiers().with_overrides({"small": {"daily_minutes": 0.2, "concurrent_streams": 2}})


@pytest.fixture
def refusals() -> list[str]:
    return []


@pytest.fixture
async def desk(store: QuotaStore, refusals: list[str]) -> AsyncIterator[QuotaLedger]:
    desk = QuotaLedger(store, QuotaPolicy(TIERS, count_refusal=refusals.append))
    yield desk
    await desk.close()


async def hear(account: StreamQuota, samples: int, rate: int = RATE) -> int:
    """Hear samples in bites, as a session does; return how many were granted."""
    while (granted := account.grant_audio(samples, rate)) is None:
        await account.wait_for_grant()
    return granted


@pytest.mark.parametrize("frame", [160, 1_600, 8_000, 31_999])
async def test_exactly_the_minutes_of_the_day_are_heard(
    desk: QuotaLedger, store: QuotaStore, refusals: list[str], frame: int
) -> None:
    account = await desk.open_stream(*ANN)
    heard = 0
    while account.refusal is None:
        heard += await hear(account, frame)
        if len(refusals) == 0:
            assert (await store.read_usage("ann")).used_microseconds <= 12 * SECOND
    assert heard == 12 * RATE
    assert account.refusal.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert refusals == ["daily_minutes"]
    assert await hear(account, frame) == 0
    await desk.close_stream(account)
    assert await store.read_usage("ann") == QuotaUsage(0, 12 * SECOND)


async def test_what_was_heard_is_billed_and_nothing_else(desk: QuotaLedger, store: QuotaStore) -> None:
    account = await desk.open_stream(*ANN)
    for rate in (44_100, 8_000):
        for _ in range(150):
            assert await hear(account, rate // 100, rate) == rate // 100
    standing = await desk.inspect_status(*ANN)
    assert (standing.active_streams, standing.used_microseconds) == (1, 3 * SECOND)
    await desk.close_stream(account)
    assert await store.read_usage("ann") == QuotaUsage(0, 3 * SECOND)


async def test_streams_of_a_user_share_the_minutes_and_never_exceed_them(
    desk: QuotaLedger, store: QuotaStore
) -> None:
    accounts = [await desk.open_stream(*ANN), await desk.open_stream(*ANN)]
    heard = [0, 0]

    async def stream(number: int) -> None:
        while accounts[number].refusal is None:
            heard[number] += await hear(accounts[number], 1_600)
            await asyncio.sleep(0)

    await asyncio.gather(stream(0), stream(1))
    assert sum(heard) == 12 * RATE
    await asyncio.gather(*map(desk.close_stream, accounts))
    assert await store.read_usage("ann") == QuotaUsage(0, 12 * SECOND)


async def test_one_stream_too_many_is_refused_and_admitted_when_another_just_left(
    desk: QuotaLedger, refusals: list[str]
) -> None:
    first, _ = await desk.open_stream(*ANN), await desk.open_stream(*ANN)
    with pytest.raises(AccessRefused) as refused:
        await desk.open_stream(*ANN)
    assert refused.value.detail == {"quota": "concurrent_streams", "limit": 2, "used": 2}
    assert not (await desk.inspect_status(*ANN)).can_open_stream
    leaving = desk.close_stream(first)
    await desk.open_stream(*ANN)
    await leaving
    assert refusals == ["concurrent_streams"]


async def test_who_has_used_up_the_day_is_not_let_in(desk: QuotaLedger) -> None:
    account = await desk.open_stream(*ANN)
    await hear(account, 30 * RATE)
    with pytest.raises(AccessRefused) as refused:
        await desk.open_stream(*ANN)
    assert refused.value.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert not (await desk.inspect_status(*ANN)).can_open_stream


async def test_without_limits_nothing_is_refused_and_all_is_counted(
    desk: QuotaLedger, store: QuotaStore
) -> None:
    local = ("local", "local")
    account = await desk.open_stream(*local)
    assert await hear(account, 3_600 * RATE) == 3_600 * RATE
    await desk.close_stream(account)
    assert await store.read_usage("local") == QuotaUsage(0, 3_600 * SECOND)


async def test_a_stop_settles_every_account(desk: QuotaLedger, store: QuotaStore) -> None:
    await hear(await desk.open_stream(*ANN), RATE)
    await hear(await desk.open_stream(*ANN), RATE // 2)
    tasks = [desk.close_stream(account) for account in tuple(desk._open_quotas)]  # noqa: SLF001  # as ``close`` does
    await asyncio.gather(*tasks)
    assert await store.read_usage("ann") == QuotaUsage(0, 3 * SECOND // 2)


async def test_many_streams_that_end_at_once_are_all_billed(desk: QuotaLedger, store: QuotaStore) -> None:
    users = [(f"user{number}", "premium") for number in range(150)]
    accounts = await asyncio.gather(*(desk.open_stream(*user) for user in users for _ in range(2)))
    heard = await asyncio.gather(*(hear(account, 3 * RATE) for account in accounts))
    assert heard == [3 * RATE] * 300
    await asyncio.gather(*map(desk.close_stream, accounts))
    assert not desk.is_store_unavailable
    usages = await asyncio.gather(*(store.read_usage(user) for user, _ in users))
    assert usages == [QuotaUsage(0, 6 * SECOND)] * 150


async def test_who_gives_up_waiting_leaves_nothing_behind(desk: QuotaLedger) -> None:
    account = await desk.open_stream(*ANN)
    if account.grant_audio(RATE, RATE) is None:
        before = asyncio.all_tasks()
        waiting = asyncio.create_task(account.wait_for_grant())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await desk.close_stream(account)
        assert asyncio.all_tasks() <= before


async def test_a_silent_stream_keeps_its_place_as_long_as_its_process_lives(store: QuotaStore) -> None:
    ttl = 1.5  # a busy machine pauses too
    one = Tiers().with_overrides({"small": {"concurrent_streams": 1}})
    desk, other = (
        QuotaLedger(store, QuotaPolicy(one, lease_ttl=ttl)),
        QuotaLedger(store, QuotaPolicy(one, lease_ttl=ttl)),
    )
    renewing = asyncio.create_task(desk.run_renewals())
    await desk.open_stream(*ANN)
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
    await asyncio.gather(desk.close(), other.close())


async def test_a_store_at_hand_costs_a_message_no_time_worth_speaking_of() -> None:
    account = await QuotaLedger(MemoryQuotaStore()).open_stream("ann", "standard")
    begun = time.process_time()
    for _ in range(5_000):
        account.grant_audio(320, RATE)
    assert (time.process_time() - begun) / 5_000 < 20e-6

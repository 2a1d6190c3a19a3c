"""Streams at the desk, with a store at hand and with a real server that is waited for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from echoic.errors import AccessRefused
from echoic.limits.desk import Desk, Terms
from echoic.limits.identity import Identity
from echoic.limits.memory import MemoryQuotas
from echoic.limits.quota import Usage
from echoic.limits.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from echoic.limits.account import Account
    from echoic.limits.quota import QuotaStore

RATE = 16_000
SECOND = 1_000_000
ANN = Identity("ann", "small")
#: Twelve seconds of audio, two streams.
TIERS = Tiers().over({"small": {"daily_minutes": 0.2, "concurrent_streams": 2}})


@pytest.fixture
def refusals() -> list[str]:
    return []


@pytest.fixture
async def desk(store: QuotaStore, refusals: list[str]) -> AsyncIterator[Desk]:
    desk = Desk(store, Terms(TIERS, count=refusals.append))
    yield desk
    await desk.close()


async def hear(account: Account, samples: int, rate: int = RATE) -> int:
    """Hear samples in bites, as a session does; return how many were granted."""
    while (granted := account.grant(samples, rate)) is None:
        await account.ready()
    return granted


@pytest.mark.parametrize("frame", [160, 1_600, 8_000, 31_999])
async def test_exactly_the_minutes_of_the_day_are_heard(
    desk: Desk, store: QuotaStore, refusals: list[str], frame: int
) -> None:
    account = await desk.open(ANN)
    heard = 0
    while account.refusal is None:
        heard += await hear(account, frame)
        if len(refusals) == 0:
            assert (await store.usage("ann")).used <= 12 * SECOND
    assert heard == 12 * RATE
    assert account.refusal.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert refusals == ["daily_minutes"]
    assert await hear(account, frame) == 0
    await desk.leave(account)
    assert await store.usage("ann") == Usage(0, 12 * SECOND)


async def test_what_was_heard_is_billed_and_nothing_else(desk: Desk, store: QuotaStore) -> None:
    account = await desk.open(ANN)
    for rate in (44_100, 8_000):
        for _ in range(150):
            assert await hear(account, rate // 100, rate) == rate // 100
    standing = await desk.standing(ANN)
    assert (standing.active, standing.used) == (1, 3 * SECOND)
    await desk.leave(account)
    assert await store.usage("ann") == Usage(0, 3 * SECOND)


async def test_streams_of_a_user_share_the_minutes_and_never_exceed_them(
    desk: Desk, store: QuotaStore
) -> None:
    accounts = [await desk.open(ANN), await desk.open(ANN)]
    heard = [0, 0]

    async def stream(number: int) -> None:
        while accounts[number].refusal is None:
            heard[number] += await hear(accounts[number], 1_600)
            await asyncio.sleep(0)

    await asyncio.gather(stream(0), stream(1))
    assert sum(heard) == 12 * RATE
    await asyncio.gather(*map(desk.leave, accounts))
    assert await store.usage("ann") == Usage(0, 12 * SECOND)


async def test_one_stream_too_many_is_refused_and_admitted_when_another_just_left(
    desk: Desk, refusals: list[str]
) -> None:
    first, _ = await desk.open(ANN), await desk.open(ANN)
    with pytest.raises(AccessRefused) as refused:
        await desk.open(ANN)
    assert refused.value.detail == {"quota": "concurrent_streams", "limit": 2, "used": 2}
    assert not (await desk.standing(ANN)).admitted
    leaving = desk.leave(first)
    await desk.open(ANN)
    await leaving
    assert refusals == ["concurrent_streams"]


async def test_who_has_used_up_the_day_is_not_let_in(desk: Desk) -> None:
    account = await desk.open(ANN)
    await hear(account, 30 * RATE)
    with pytest.raises(AccessRefused) as refused:
        await desk.open(ANN)
    assert refused.value.detail == {"quota": "daily_minutes", "limit": 0.2, "used": 0.2}
    assert not (await desk.standing(ANN)).admitted


async def test_without_limits_nothing_is_refused_and_all_is_counted(desk: Desk, store: QuotaStore) -> None:
    local = Identity("local", "local")
    account = await desk.open(local)
    assert await hear(account, 3_600 * RATE) == 3_600 * RATE
    await desk.leave(account)
    assert await store.usage("local") == Usage(0, 3_600 * SECOND)


async def test_a_stop_settles_every_account(desk: Desk, store: QuotaStore) -> None:
    await hear(await desk.open(ANN), RATE)
    await hear(await desk.open(ANN), RATE // 2)
    tasks = [desk.leave(account) for account in tuple(desk._accounts)]  # noqa: SLF001  # as ``close`` does
    await asyncio.gather(*tasks)
    assert await store.usage("ann") == Usage(0, 3 * SECOND // 2)


async def test_many_streams_that_end_at_once_are_all_billed(desk: Desk, store: QuotaStore) -> None:
    users = [Identity(f"user{number}", "premium") for number in range(150)]
    accounts = await asyncio.gather(*(desk.open(user) for user in users for _ in range(2)))
    heard = await asyncio.gather(*(hear(account, 3 * RATE) for account in accounts))
    assert heard == [3 * RATE] * 300
    await asyncio.gather(*map(desk.leave, accounts))
    assert not desk.is_away
    usages = await asyncio.gather(*(store.usage(user.user) for user in users))
    assert usages == [Usage(0, 6 * SECOND)] * 150


async def test_who_gives_up_waiting_leaves_nothing_behind(desk: Desk) -> None:
    account = await desk.open(ANN)
    if account.grant(RATE, RATE) is None:
        before = asyncio.all_tasks()
        waiting = asyncio.create_task(account.ready())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await desk.leave(account)
        assert asyncio.all_tasks() <= before


async def test_a_silent_stream_keeps_its_place_as_long_as_its_process_lives(store: QuotaStore) -> None:
    ttl = 1.5  # a busy machine pauses too
    one = Tiers().over({"small": {"concurrent_streams": 1}})
    desk, other = Desk(store, Terms(one, ttl=ttl)), Desk(store, Terms(one, ttl=ttl))
    renewing = asyncio.create_task(desk.run())
    await desk.open(ANN)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5 * ttl
    while loop.time() < end:
        with pytest.raises(AccessRefused):
            await other.open(ANN)
        await asyncio.sleep(ttl / 10)
    renewing.cancel()
    while (await store.usage("ann")).active:  # noqa: ASYNC110  # the end of a lease has no event
        await asyncio.sleep(ttl / 10)
    await other.open(ANN)
    await asyncio.gather(desk.close(), other.close())


async def test_a_store_at_hand_costs_a_message_no_time_worth_speaking_of() -> None:
    account = await Desk(MemoryQuotas()).open(Identity("ann", "standard"))
    begun = time.process_time()
    for _ in range(5_000):
        account.grant(320, RATE)
    assert (time.process_time() - begun) / 5_000 < 20e-6

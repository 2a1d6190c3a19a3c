"""One contract for every store of quotas."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoic.limits.meter import Meter
from echoic.limits.quota import Allowance, Claim, Place, QuotaStore, Receipt, Usage
from support.patience import PATIENCE

if TYPE_CHECKING:
    from limits.conftest import MakeStore

SECOND = 1_000_000
TTL = 60.0
BLINK = 0.06
ONE = Allowance(streams=1)
ANNA, BERT, CARL = (Place("ann", lease) for lease in ("a", "b", "c"))


def claim(
    place: Place, wanted: int, *, paid: int = 0, heard: int | None = None, limit: int | None = None
) -> Claim:
    return Claim(place, paid, min(paid, wanted) if heard is None else heard, wanted, limit)


async def eventually_admitted(store: QuotaStore, place: Place, allowance: Allowance) -> None:
    begun = time.monotonic()
    while not (await store.acquire(place, allowance, TTL)).admitted:
        assert time.monotonic() - begun < PATIENCE
        await asyncio.sleep(0.002)


# ---- places


async def test_a_user_gets_as_many_places_as_allowed_and_a_released_one_again(store: QuotaStore) -> None:
    two = Allowance(streams=2)
    answers = [await store.acquire(place, two, TTL) for place in (ANNA, BERT, CARL)]
    assert [(one.admitted, one.active) for one in answers] == [(True, 1), (True, 2), (False, 2)]
    await store.release(ANNA)
    assert (await store.acquire(CARL, two, TTL)).admitted
    assert await store.usage("ann") == Usage(2, 0)


async def test_without_a_limit_every_stream_has_a_place(store: QuotaStore) -> None:
    for number in range(20):
        answer = await store.acquire(Place("ann", str(number)), Allowance(), TTL)
        assert (answer.admitted, answer.active) == (True, number + 1)


async def test_taking_or_giving_back_a_place_twice_is_the_same_as_once(store: QuotaStore) -> None:
    for _ in range(2):
        answer = await store.acquire(ANNA, ONE, TTL)
        assert (answer.admitted, answer.active) == (True, 1)
    for _ in range(2):
        await store.release(ANNA)
    assert (await store.usage("ann")).active == 0


async def test_a_place_that_is_not_renewed_is_free_after_its_time(store: QuotaStore) -> None:
    begun = time.monotonic()
    await store.acquire(ANNA, ONE, BLINK)
    early = (await store.acquire(BERT, ONE, TTL)).admitted
    assert not early or time.monotonic() - begun >= BLINK
    await eventually_admitted(store, BERT, ONE)
    assert (await store.usage("ann")).active == 1


async def test_a_place_that_is_renewed_is_kept_without_any_audio(store: QuotaStore) -> None:
    await store.acquire(ANNA, ONE, BLINK)
    assert await store.renew([(ANNA, ONE)], TTL) == [True]
    await asyncio.sleep(2 * BLINK)  # a lease has no event
    assert not (await store.acquire(BERT, ONE, TTL)).admitted


async def test_a_place_that_ran_out_is_taken_again_by_renewing_if_one_is_free(store: QuotaStore) -> None:
    await store.acquire(ANNA, ONE, BLINK)
    await eventually_admitted(store, BERT, ONE)
    assert await store.renew([(BERT, ONE), (ANNA, ONE)], TTL) == [True, False]
    assert (await store.usage("ann")).active == 1
    await store.release(BERT)
    assert await store.renew([(ANNA, ONE)], TTL) == [True]
    assert not (await store.acquire(BERT, ONE, TTL)).admitted


async def test_renewing_nothing_is_allowed(store: QuotaStore) -> None:
    assert await store.renew([], TTL) == []


@pytest.mark.parametrize("other", ["bob", "ann:streams", "}ann{", "a}n{n", "änn", "a b\r\n*1"])
async def test_users_do_not_share_whatever_their_names(store: QuotaStore, other: str) -> None:
    await store.acquire(ANNA, ONE, TTL)
    await store.charge(claim(ANNA, 5))
    assert await store.usage(other) == Usage(0, 0)
    place = Place(other, ANNA.lease)
    assert (await store.acquire(place, ONE, TTL)).admitted
    assert await store.charge(claim(place, 3)) == Receipt(3, 3)
    assert await store.usage("ann") == Usage(1, 5)


# ---- minutes


@pytest.mark.parametrize("frame", [0.01, 0.1, 0.5, 10.0])
@pytest.mark.parametrize("rate", [16_000, 44_100])
async def test_billed_is_what_was_sent_whatever_the_frames(
    store: QuotaStore, frame: float, rate: int
) -> None:
    meter, paid, samples = Meter(), 0, round(frame * rate)
    for _ in range(round(20 / frame)):
        meter.hear(samples, rate)
        paid = (await store.charge(claim(ANNA, meter.heard, paid=paid))).paid
    assert await store.usage("ann") == Usage(0, 20 * SECOND)


async def test_what_crosses_the_limit_is_paid_as_far_as_it_goes(store: QuotaStore) -> None:
    limit = 10 * SECOND
    assert await store.charge(claim(ANNA, 7 * SECOND, limit=limit)) == Receipt(7 * SECOND, 7 * SECOND)
    crossing = claim(BERT, 4 * SECOND, limit=limit)
    assert await store.charge(crossing) == Receipt(3 * SECOND, limit)
    assert await store.charge(claim(CARL, 1, limit=limit)) == Receipt(0, limit)


async def test_a_claim_that_is_repeated_counts_once(store: QuotaStore) -> None:
    for _ in range(3):
        assert await store.charge(claim(ANNA, 4, paid=0)) == Receipt(4, 4)
    for _ in range(3):
        assert await store.charge(claim(ANNA, 9, paid=0)) == Receipt(9, 9)


async def test_a_store_that_forgot_a_stream_goes_on_from_what_the_stream_knows(store: QuotaStore) -> None:
    assert await store.charge(claim(ANNA, 130, paid=100)) == Receipt(130, 30)


async def test_what_was_paid_and_not_heard_is_given_back(store: QuotaStore) -> None:
    await store.charge(claim(ANNA, 9))
    assert await store.charge(claim(ANNA, 4, paid=9, heard=4)) == Receipt(4, 4)
    assert await store.charge(claim(ANNA, 4, paid=9, heard=4)) == Receipt(4, 4)


async def test_use_is_never_negative(store: QuotaStore) -> None:
    assert await store.charge(claim(ANNA, 1, paid=1_000, heard=1)) == Receipt(1, 0)
    assert (await store.usage("ann")).used == 0


async def test_what_was_heard_already_counts_in_full_and_nothing_more_is_granted(store: QuotaStore) -> None:
    late = claim(ANNA, 30, heard=25, limit=10)
    assert await store.charge(late) == Receipt(25, 25)
    assert await store.charge(claim(BERT, 1, limit=10)) == Receipt(0, 25)


async def test_who_has_no_minutes_left_gets_no_place(store: QuotaStore) -> None:
    little = Allowance(daily=10)
    assert (await store.acquire(ANNA, little, TTL)).admitted
    await store.charge(claim(ANNA, 10, limit=10))
    answer = await store.acquire(BERT, little, TTL)
    assert (answer.admitted, answer.active, answer.used) == (False, 1, 10)
    assert (await store.acquire(ANNA, little, TTL)).admitted  # it has its place


async def test_no_minutes_at_all_admit_nobody(store: QuotaStore) -> None:
    assert not (await store.acquire(ANNA, Allowance(daily=0), TTL)).admitted


# ---- all at once


@dataclass(frozen=True)
class Step:
    stream: int
    what: str
    amount: int


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(0, 3),
        st.sampled_from(["acquire", "renew", "release", "charge", "charge", "refund"]),
        st.integers(0, 40),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, streams=st.integers(0, 3), daily=st.integers(0, 100))
async def test_in_any_order_never_over_the_limit_and_never_negative(
    fresh: MakeStore, steps: list[Step], streams: int, daily: int
) -> None:
    store, allowance = fresh(), Allowance(daily, streams)
    places = [Place("ann", str(number)) for number in range(4)]
    paid = [0] * 4

    async def take(step: Step) -> None:
        place, known = places[step.stream], paid[step.stream]
        match step.what:
            case "acquire":
                assert (await store.acquire(place, allowance, TTL)).active <= streams
            case "renew":
                await store.renew([(place, allowance)], TTL)
            case "release":
                await store.release(place)
            case "charge":
                receipt = await store.charge(Claim(place, known, known, known + step.amount, daily))
                paid[step.stream] = receipt.paid
                assert receipt.used <= daily
            case "refund":
                left = max(0, known - step.amount)
                paid[step.stream] = (await store.charge(Claim(place, known, left, left, daily))).paid
        usage = await store.usage("ann")
        assert 0 <= usage.active <= streams
        assert 0 <= usage.used <= daily

    async def one_stream(number: int) -> None:
        for step in steps:
            if step.stream == number:
                await take(step)

    try:
        await asyncio.gather(*(one_stream(number) for number in range(4)))
        assert (await store.usage("ann")).used == sum(paid)
    finally:
        await store.close()

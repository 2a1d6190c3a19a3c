from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.quotas.model import (
    Charge,
    ChargeResult,
    StreamLease,
    from_minutes,
    settle_charge,
    to_minutes,
)

LEASE = StreamLease("ann", "a")
AMOUNTS = st.integers(0, 1_000)


@pytest.mark.parametrize(
    ("consumed", "requested", "limit", "paid", "used", "result"),
    [
        (0, 10, None, 0, 0, ChargeResult(10, 10)),
        (0, 10, 10, 0, 7, ChargeResult(3, 10)),  # as far as the limit allows
        (10, 10, 5, 0, 0, ChargeResult(10, 10)),  # consumed audio counts in full
        (4, 4, None, 10, 10, ChargeResult(4, 4)),  # the rest is refunded
        (4, 4, None, 10, 2, ChargeResult(4, 0)),  # usage is never negative
        (10, 10, 10, 10, 10, ChargeResult(10, 10)),  # a repeated charge counts once
    ],
)
def test_a_charge_is_settled_within_the_limit(
    consumed: int, requested: int, limit: int | None, paid: int, used: int, result: ChargeResult
) -> None:
    assert settle_charge(Charge(LEASE, 0, consumed, requested, limit), paid, used) == result


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_charge_pays_consumed_audio_and_no_more_than_requested(
    consumed: int, extra: int, limit: int, paid: int, used: int
) -> None:
    charge = Charge(LEASE, 0, consumed, consumed + extra, limit)
    result = settle_charge(charge, paid, used)
    assert consumed <= result.paid <= charge.requested
    assert 0 <= result.used <= max(limit, used + max(0, consumed - paid))


@given(st.integers(0, 10_000_000))
def test_minutes_are_converted_to_whole_microseconds(seconds: int) -> None:
    assert from_minutes(seconds / 60) == seconds * 1_000_000
    assert to_minutes(seconds * 1_000_000) == round(seconds / 60, 6)

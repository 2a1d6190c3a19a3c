"""Samples and seconds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.units import rescale, to_samples, to_seconds

RATES = st.integers(8000, 192_000)
A_DAY = 86_400 * 192_000


@given(samples=st.integers(0, A_DAY), rate=RATES)
def test_a_position_survives_rounding_for_the_wire(samples: int, rate: int) -> None:
    assert to_samples(to_seconds(samples, rate), rate) == samples


@given(samples=st.integers(0, A_DAY), rate=RATES, new_rate=RATES)
def test_a_rescaled_position_is_the_nearest(samples: int, rate: int, new_rate: int) -> None:
    exact = Fraction(samples * new_rate, rate)
    assert abs(rescale(samples, rate, new_rate) - exact) <= Fraction(1, 2)


@given(samples=st.integers(0, A_DAY), more=st.integers(0, A_DAY), rate=RATES, new_rate=RATES)
def test_rescaling_keeps_the_order(samples: int, more: int, rate: int, new_rate: int) -> None:
    assert rescale(samples, rate, new_rate) <= rescale(samples + more, rate, new_rate)


@pytest.mark.parametrize(
    ("samples", "rate", "new_rate", "expected"),
    [(480, 48_000, 16_000, 160), (1, 16_000, 8000, 1), (3, 16_000, 16_000, 3), (0, 8000, 16_000, 0)],
)
def test_rescaling_by_example(samples: int, rate: int, new_rate: int, expected: int) -> None:
    assert rescale(samples, rate, new_rate) == expected


def test_seconds_are_rounded_for_the_wire() -> None:
    assert to_seconds(1, 44_100) == 0.000023

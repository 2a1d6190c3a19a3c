from dataclasses import dataclass

import pytest

from echoic.evaluate.counts import Summable, percentage


@dataclass(frozen=True, slots=True)
class Part(Summable):
    count: int = 0


@dataclass(frozen=True, slots=True)
class Total(Summable):
    seconds: float = 0.0
    values: tuple[int, ...] = ()
    part: Part | None = None


def test_fields_add_up_one_by_one() -> None:
    assert Total(1.0, (1,), Part(2)) + Total(0.5, (2, 3), Part(3)) == Total(1.5, (1, 2, 3), Part(5))


def test_unknown_gives_way_to_a_known_value() -> None:
    assert Total() + Total(part=Part(1)) == Total(part=Part(1)) + Total() == Total(part=Part(1))
    assert (Total() + Total()).part is None


@pytest.mark.parametrize(
    ("part", "whole", "percent"), [(1, 4, 25.0), (0, 4, 0.0), (3, 0, 0.0), (6, 4, 150.0)]
)
def test_percentages(part: float, whole: float, percent: float) -> None:
    assert percentage(part, whole) == percent

"""Adds up counts and scores field by field."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Summable:
    """Base of dataclasses that add up field by field; None is "unknown" and gives way to a known value."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            *(_add_values(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        )


def _add_values(left: Any, right: Any) -> Any:  # noqa: ANN401  # numbers, tuples, Summable or None
    if left is None or right is None:
        return right if left is None else left
    return left + right


def percentage(part: float, whole: float) -> float:
    """Return ``part`` in percent of ``whole``; 0 if ``whole`` is 0."""
    return 100.0 * part / whole if whole else 0.0

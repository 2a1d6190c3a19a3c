"""High and low water marks: above the high one something stops, and goes on only below the low one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


@dataclass(frozen=True, slots=True)
class WaterMarks:
    """Two levels, in seconds.

    Attributes:
        high: Above it there is too much.
        low: Below it there is no longer; less than ``high``, so that nothing stops and goes at every step.
    """

    high: float
    low: float

    def cap_at(self, ceiling: float) -> WaterMarks:
        """Return marks in the same proportion, the high one not above ``ceiling``."""
        if ceiling >= self.high:
            return self
        return WaterMarks(ceiling, ceiling * self.low / self.high)


class Hysteresis:
    """Whether a level is too high, once it was above the high mark and until it is below the low one."""

    __slots__ = ("is_high",)

    def __init__(self) -> None:
        self.is_high = False

    def update_level(self, level: float, marks: WaterMarks) -> bool:
        """Return whether it is too high now that it is at ``level``."""
        self.is_high = level > (marks.low if self.is_high else marks.high)
        return self.is_high


class TotalBacklog:
    """The audio that all streams of a server wait for.

    Args:
        marks: Of the sum; None: ten minutes, and half of it.
    """

    def __init__(self, marks: WaterMarks | None = None) -> None:
        self.marks = marks or WaterMarks(600.0, 300.0)
        self._seconds_by_stream: dict[Hashable, float] = {}
        self._total_seconds = 0.0
        self._hysteresis = Hysteresis()

    @property
    def seconds(self) -> float:
        """Seconds of audio heard that finals are due for."""
        return self._total_seconds

    @property
    def is_high(self) -> bool:
        """Whether there is too much of it."""
        return self._hysteresis.is_high

    @property
    def seconds_per_stream(self) -> float:
        """Seconds that each stream may have now; infinite while there is not too much in all.

        Above the high mark those that wait for more than an equal share of what the low mark allows are read
        no further, so that streams that keep to real time go on.
        """
        return self.marks.low / len(self._seconds_by_stream) if self.is_high else float("inf")

    def update_stream(self, stream: Hashable, seconds: float) -> None:
        """Note what a stream waits for."""
        before = self._seconds_by_stream.get(stream, 0.0)
        if before == seconds:
            return
        if seconds:
            self._seconds_by_stream[stream] = seconds
        else:
            del self._seconds_by_stream[stream]
        self._total_seconds = self._total_seconds + seconds - before if self._seconds_by_stream else 0.0
        self._hysteresis.update_level(self._total_seconds, self.marks)

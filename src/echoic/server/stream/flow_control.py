"""A token bucket that is asked how long to wait, and refuses nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

#: Seconds' worth that is gathered before somebody who took too much goes on: fewer and longer waits.
_MIN_REFILL_SECONDS = 0.05


class TokenBucket:
    """Fills at a constant rate, up to its size; taking more than it holds has to be waited for afterwards.

    Source: the token bucket of traffic shaping, as in RFC 2697 but with debts: what came cannot be sent back.

    Args:
        rate: What flows in each second; 0: there is no limit.
        size: What it holds, and holds at first.
    """

    __slots__ = ("_at", "_level", "_rate", "_size")

    def __init__(self, rate: float, size: float) -> None:
        self._rate = rate
        self._level = self._size = size
        self._at = 0.0

    def take_tokens(self, amount: float, now: float) -> None:
        """Take ``amount``; ``now`` is in seconds of a clock that does not go back."""
        self._refill_tokens(now)
        self._level -= amount

    def compute_wait(self, now: float) -> float:
        """Return the seconds until more should be taken; 0: at once."""
        if not self._rate:
            return 0.0
        self._refill_tokens(now)
        return 0.0 if self._level >= 0 else _MIN_REFILL_SECONDS - self._level / self._rate

    def _refill_tokens(self, now: float) -> None:
        self._level = min(self._size, self._level + self._rate * (now - self._at))
        self._at = now


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


_MICROSECONDS: Final = 1_000_000
#: At each quarter of the high mark partials come half as often; at this pace hardly at all.
_PACE_STEPS: Final = 4
_MAX_PACE_EXPONENT: Final = 6


class LatencyMonitor:
    """Compares when finals came due with when they were delivered.

    The due times of audio that comes faster than real time are those it would have had in real time: a file
    that is decoded in less time than it plays is never late, however fast it was sent.

    Args:
        marks: Above the high one the stream has fallen behind, below the low one it has recovered.
    """

    def __init__(self, marks: WaterMarks) -> None:
        self._marks = marks
        self._due: deque[tuple[int, float]] = deque()
        self._last_due = 0
        self._last_due_at = float("-inf")
        self._last_lag = self._last_lag_at = 0.0
        #: Whether it has fallen behind.
        self.is_behind = False

    def record_progress(self, due: int, delivered: int, now: float) -> None:
        """Note how far a stream is.

        Args:
            due: Microseconds of audio that finals came due for so far.
            delivered: Those of them that were delivered.
            now: Seconds of a clock that does not go back.
        """
        if due > self._last_due:
            self._last_due_at = max(now, self._last_due_at + (due - self._last_due) / _MICROSECONDS)
            self._due.append((due, self._last_due_at))
            self._last_due = due
        while self._due and self._due[0][0] <= delivered:
            self._last_lag, self._last_lag_at = now - self._due.popleft()[1], now

    def compute_lag(self, now: float) -> float:
        """Return how late the final is that is due, or the last one was, less the time since; the larger."""
        last = max(0.0, self._last_lag - (now - self._last_lag_at))
        return max(last, now - self._due[0][1]) if self._due else last

    def detect_falling_behind(self, now: float) -> bool:
        """Return whether the stream has fallen behind just now: once until it has recovered."""
        lag = self.compute_lag(now)
        before = self.is_behind
        self.is_behind = lag > (self._marks.low if before else self._marks.high)
        return self.is_behind and not before

    def compute_partial_pace(self, now: float) -> int:
        """Return how much rarer partials should be: 1, and twice as much at each quarter of the high mark."""
        quarters = int(self.compute_lag(now) * _PACE_STEPS / self._marks.high)
        return 1 << min(quarters, _MAX_PACE_EXPONENT)

    @property
    def next_check_at(self) -> float | None:
        """When it will have fallen behind, or recovered, if nothing happens till then; None: neither."""
        if self.is_behind:
            return self._last_lag_at + max(0.0, self._last_lag - self._marks.low) if not self._due else None
        return self._due[0][1] + self._marks.high if self._due else None

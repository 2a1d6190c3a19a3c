"""How late a stream's finals are."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from echoic.server.marks import WaterMarks

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

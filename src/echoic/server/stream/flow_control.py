"""Flow control: rates, backpressure by water marks, and the lag of finals."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from echoic.server.stream.outbox import Outbox
from echoic.session.session import Session

#: An overdrawn bucket waits until it holds this many seconds of tokens, so that there are few long waits
#: instead of many short ones.
_MIN_REFILL_SECONDS: Final = 0.05
_MICROSECONDS: Final = 1_000_000
#: The rate of partials is halved each time the lag reaches another quarter (1/4) of the high mark.
_PACE_STEPS: Final = 4
#: The slowest pace of partials is one in ``2 ** _MAX_PACE_EXPONENT``.
_MAX_PACE_EXPONENT: Final = 6


@dataclass(frozen=True, slots=True)
class ReadRates:
    """The highest rates at which messages are read from a client; 0 means no limit."""

    messages_per_second: float = 500.0
    #: Seconds of audio per second.
    audio_per_second: float = 30.0


class TokenBucket:
    """A token bucket that may be overdrawn: taking too many tokens makes the next wait longer.

    Source: the token bucket of traffic shaping (RFC 2697). Debts are allowed: messages cannot be sent back.

    Args:
        rate: Tokens that flow in per second. 0 means no limit.
        size: The most tokens the bucket holds; it starts full.
    """

    __slots__ = ("_level", "_rate", "_size", "_updated_at")

    def __init__(self, rate: float, size: float) -> None:
        self._rate = rate
        self._level = self._size = size
        self._updated_at = 0.0

    def take_tokens(self, amount: float, now: float) -> None:
        """Take ``amount`` tokens; ``now`` is in seconds of a monotonic clock."""
        self._refill_tokens(now)
        self._level -= amount

    def compute_wait(self, now: float) -> float:
        """Return the seconds to wait before more tokens are taken, or 0."""
        if not self._rate:
            return 0.0
        self._refill_tokens(now)
        return 0.0 if self._level >= 0 else _MIN_REFILL_SECONDS - self._level / self._rate

    def _refill_tokens(self, now: float) -> None:
        self._level = min(self._size, self._level + self._rate * (now - self._updated_at))
        self._updated_at = now


@dataclass(frozen=True, slots=True)
class WaterMarks:
    """Two thresholds with hysteresis between them, in seconds."""

    #: A level above this mark is too high.
    high: float
    #: Once too high, a level counts as too high until it has fallen to this mark. Must be below ``high``.
    low: float

    def cap_at(self, ceiling: float) -> WaterMarks:
        """Return marks of the same proportion whose high mark is at most ``ceiling``."""
        if ceiling >= self.high:
            return self
        return WaterMarks(ceiling, ceiling * self.low / self.high)


class Hysteresis:
    """Remembers whether a level is too high: from above the high mark until at or below the low mark."""

    __slots__ = ("is_high",)

    def __init__(self) -> None:
        self.is_high = False

    def update_level(self, level: float, marks: WaterMarks) -> bool:
        """Return whether ``level`` is too high."""
        self.is_high = level > (marks.low if self.is_high else marks.high)
        return self.is_high


class TotalBacklog:
    """Sums the undecoded audio of all streams of a server.

    Args:
        marks: Water marks of the sum, by default 600 and 300 seconds.
    """

    def __init__(self, marks: WaterMarks | None = None) -> None:
        self.marks = marks or WaterMarks(600.0, 300.0)
        self._seconds_by_stream: dict[Hashable, float] = {}
        self._total_seconds = 0.0
        self._hysteresis = Hysteresis()

    @property
    def seconds(self) -> float:
        """Seconds of undecoded audio, all streams together."""
        return self._total_seconds

    @property
    def is_high(self) -> bool:
        """Whether the sum is too high."""
        return self._hysteresis.is_high

    @property
    def seconds_per_stream(self) -> float:
        """Seconds of undecoded audio that each stream may have now; infinite while the sum is not too high.

        While the sum is too high, nothing more is read from streams above an equal share of the low mark, so
        that streams that keep up with real time continue.
        """
        return self.marks.low / len(self._seconds_by_stream) if self.is_high else float("inf")

    def update_stream(self, stream: Hashable, seconds: float) -> None:
        """Set the undecoded audio of a stream."""
        before = self._seconds_by_stream.get(stream, 0.0)
        if before == seconds:
            return
        if seconds:
            self._seconds_by_stream[stream] = seconds
        else:
            del self._seconds_by_stream[stream]
        self._total_seconds = self._total_seconds + seconds - before if self._seconds_by_stream else 0.0
        self._hysteresis.update_level(self._total_seconds, self.marks)


class LatencyMonitor:
    """Measures how late finals are delivered after they were due.

    Audio that arrives faster than real time is due when it would have arrived in real time. So a file that
    is decoded in less time than it plays is never late, however fast it was sent.

    Args:
        marks: Above the high mark the stream has fallen behind, below the low mark it has recovered.
    """

    def __init__(self, marks: WaterMarks) -> None:
        self._marks = marks
        self._due: deque[tuple[int, float]] = deque()
        self._last_due = 0
        self._last_due_at = float("-inf")
        self._last_lag = self._last_lag_at = 0.0
        #: Whether the stream has fallen behind.
        self.is_behind = False

    def record_progress(self, due: int, delivered: int, now: float) -> None:
        """Record the progress of a stream.

        Args:
            due: Microseconds of audio that finals are due for so far.
            delivered: Microseconds of audio whose finals were delivered.
            now: Seconds of a monotonic clock.
        """
        if due > self._last_due:
            self._last_due_at = max(now, self._last_due_at + (due - self._last_due) / _MICROSECONDS)
            self._due.append((due, self._last_due_at))
            self._last_due = due
        while self._due and self._due[0][0] <= delivered:
            self._last_lag, self._last_lag_at = now - self._due.popleft()[1], now

    def compute_lag(self, now: float) -> float:
        """Return the lag of the stream in seconds.

        The larger of two: the lag of the oldest final still due, and the lag of the last delivered final
        minus the time since then.
        """
        last = max(0.0, self._last_lag - (now - self._last_lag_at))
        return max(last, now - self._due[0][1]) if self._due else last

    def detect_falling_behind(self, now: float) -> bool:
        """Update ``is_behind``; return whether it has just become true."""
        was_behind = self.is_behind
        self.is_behind = self.compute_lag(now) > (self._marks.low if was_behind else self._marks.high)
        return self.is_behind and not was_behind

    def compute_partial_pace(self, now: float) -> int:
        """Return how much rarer partials should be: 1, doubled at each quarter of the high mark."""
        quarters = int(self.compute_lag(now) * _PACE_STEPS / self._marks.high)
        return 1 << min(quarters, _MAX_PACE_EXPONENT)

    @property
    def next_check_at(self) -> float | None:
        """When ``is_behind`` will change if nothing is delivered until then, or None: it will not."""
        if self.is_behind:
            return self._last_lag_at + max(0.0, self._last_lag - self._marks.low) if not self._due else None
        return self._due[0][1] + self._marks.high if self._due else None


class FlowControl:
    """Decides when the client of one stream is read, and measures the lag of the stream.

    What a client sends while it is not read stays in its connection, and TCP makes the client wait. No
    message is lost.

    Args:
        session: The stream's session.
        outbox: The stream's send queue.
        total_backlog: Undecoded audio of all streams.
        backlog: Water marks of the stream's undecoded audio.
        lag_marks: Water marks of the stream's lag.
        rates: The highest rates at which messages are read from the client.
    """

    def __init__(
        self,
        session: Session,
        outbox: Outbox,
        total_backlog: TotalBacklog,
        *,
        backlog: WaterMarks,
        lag_marks: WaterMarks,
        rates: ReadRates,
    ) -> None:
        self._session = session
        self._outbox = outbox
        self._total_backlog = total_backlog
        self._marks = backlog
        self._hysteresis = Hysteresis()
        self._latency = LatencyMonitor(lag_marks)
        self._messages = TokenBucket(rates.messages_per_second, 2 * rates.messages_per_second)
        self._audio = TokenBucket(rates.audio_per_second, backlog.high)
        self._changed = asyncio.Event()

    @property
    def is_behind(self) -> bool:
        """Whether the stream's finals come late."""
        return self._latency.is_behind

    @property
    def is_congested(self) -> bool:
        """Whether too much is undecoded or unsent for the client to be read."""
        marks = self._marks.cap_at(self._total_backlog.seconds_per_stream)
        return (
            self._hysteresis.update_level(self._session.backlog, marks)
            or self._session.is_full
            or self._outbox.is_congested
        )

    @property
    def next_check_at(self) -> float | None:
        """When ``update`` should be called next if nothing happens until then, or None."""
        return self._latency.next_check_at

    async def wait_for_room(self) -> None:
        """Wait while the stream is congested or the client has exceeded its rates."""
        clock = asyncio.get_running_loop().time
        while True:
            while self.is_congested:
                self._changed.clear()
                await self._changed.wait()
            now = clock()
            pause = max(self._messages.compute_wait(now), self._audio.compute_wait(now))
            if not pause:
                return
            await asyncio.sleep(pause)

    def notify_changed(self) -> None:
        """Let ``wait_for_room`` check again whether there is room."""
        self._changed.set()

    def count_message(self, now: float) -> None:
        """Count a message of the client."""
        self._messages.take_tokens(1, now)

    def count_audio(self, seconds: float, now: float) -> None:
        """Count audio of the client."""
        self._audio.take_tokens(seconds, now)

    def update(self, now: float) -> float | None:
        """Take account of the session's progress.

        Returns:
            The lag in seconds if the stream has just fallen behind, else None.
        """
        self._total_backlog.update_stream(self, self._session.backlog)
        self._latency.record_progress(*self._session.progress, now)
        self._session.partial_every = self._latency.compute_partial_pace(now)
        return self._latency.compute_lag(now) if self._latency.detect_falling_behind(now) else None

    def stop(self) -> None:
        """Take the stream out of the total backlog."""
        self._total_backlog.update_stream(self, 0.0)

"""The arithmetic of segments: which window ends where, and how a frame names its place."""

from __future__ import annotations

from dataclasses import dataclass

from echoic.units import TIME_DECIMALS, to_samples


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """One window of a stream, in samples of the client's audio since its stretch began.

    Attributes:
        context: Where the window begins: ``start`` less the overlap.
        start: End of the window before; what follows is new.
        end: End of this window.
    """

    context: int
    start: int
    end: int


class SegmentClock:
    """Says when the next window is due and where it lies.

    A *stretch* is audio at one sample rate; positions are samples since the stretch began, and
    ``base`` is the second of the session's clock at which it did.

    Args:
        rate: Samples per second.
        chunk: Seconds of a window.
        overlap: Seconds of context, less than ``chunk``.
        base: Seconds on the session's clock where the stretch begins.
    """

    def __init__(self, rate: int, chunk: float, overlap: float, base: float = 0.0) -> None:
        self.rate = rate
        self.base = base
        self._chunk = max(1, to_samples(chunk, rate))
        self._overlap = min(to_samples(overlap, rate), self._chunk - 1)
        self.consumed = 0
        self.last_end = 0

    def set_durations(self, chunk: float, overlap: float) -> None:
        """Change the durations for the windows to come."""
        self._chunk = max(1, to_samples(chunk, self.rate))
        self._overlap = min(to_samples(overlap, self.rate), self._chunk - 1)

    @property
    def next_end(self) -> int:
        """The sample at which the next window ends: the chunk at first, then chunk less overlap on."""
        first = self.last_end == 0 and self.base == 0
        return self.last_end + (self._chunk if first else self._chunk - self._overlap)

    @property
    def pending(self) -> int:
        """Samples heard since the last window ended."""
        return self.consumed - self.last_end

    def current_span(self) -> SegmentSpan:
        """Return the window from the last one's end to what is heard."""
        return SegmentSpan(self.last_end - self.overlap_at(self.last_end), self.last_end, self.consumed)

    def overlap_at(self, position: int) -> int:
        """Return the samples of context of a window whose new part begins at ``position``."""
        return min(self._overlap, position + to_samples(self.base, self.rate))

    def close_segment(self) -> SegmentSpan:
        """Return the same window and begin the next one after it."""
        span = self.current_span()
        self.last_end = self.consumed
        return span

    def to_seconds(self, position: int) -> float:
        """Return ``position`` on the session's clock, rounded for the wire."""
        return round(self.base + position / self.rate, TIME_DECIMALS)

    def to_duration(self, samples: int) -> float:
        """Return a length in seconds, rounded for the wire."""
        return round(samples / self.rate, TIME_DECIMALS)

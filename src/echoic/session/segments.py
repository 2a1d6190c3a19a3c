"""Positions of segments: where the next one ends, and their times on the session's clock."""

from __future__ import annotations

from dataclasses import dataclass

from echoic.units import TIME_DECIMALS, to_samples


@dataclass(frozen=True, slots=True)
class SegmentSpan:
    """A segment, in samples of the client's audio since its pipeline began."""

    context: int
    """Start of the window: ``start`` minus the overlap."""
    start: int
    """End of the segment before; audio from here on is new."""
    end: int
    """End of the segment."""


class SegmentClock:
    """Divides audio of one sample rate into segments and converts positions to seconds.

    Positions are samples since the pipeline began.

    Args:
        rate: Samples per second.
        chunk: Seconds of a window.
        overlap: Seconds of context at its start, less than ``chunk``.
        base: Seconds on the session's clock at which the pipeline begins.
    """

    def __init__(self, rate: int, chunk: float, overlap: float, base: float = 0.0) -> None:
        self.rate = rate
        self.base = base
        #: Samples received so far.
        self.consumed = 0
        #: End of the last segment.
        self.last_end = 0
        self.set_durations(chunk, overlap)

    def set_durations(self, chunk: float, overlap: float) -> None:
        """Change the durations, in seconds, from the next segment on."""
        self._chunk = max(1, to_samples(chunk, self.rate))
        self._overlap = min(to_samples(overlap, self.rate), self._chunk - 1)

    @property
    def next_end(self) -> int:
        """End of the next segment.

        The first segment ends one chunk after the start, each later one (chunk - overlap) after the one
        before.
        """
        is_first = self.last_end == 0 and self.base == 0
        return self.last_end + (self._chunk if is_first else self._chunk - self._overlap)

    @property
    def pending(self) -> int:
        """Samples received since the last segment ended."""
        return self.consumed - self.last_end

    def current_span(self) -> SegmentSpan:
        """Return the open segment: from the end of the last one to the end of the audio."""
        return SegmentSpan(self.last_end - self.overlap_at(self.last_end), self.last_end, self.consumed)

    def overlap_at(self, position: int) -> int:
        """Return the samples of context for a segment that starts at ``position``."""
        return min(self._overlap, position + to_samples(self.base, self.rate))

    def close_segment(self) -> SegmentSpan:
        """End the open segment at the end of the audio and return it."""
        span = self.current_span()
        self.last_end = self.consumed
        return span

    def to_seconds(self, position: int) -> float:
        """Convert a position to seconds on the session's clock, rounded for the wire."""
        return round(self.base + position / self.rate, TIME_DECIMALS)

    def to_duration(self, samples: int) -> float:
        """Convert a length in samples to seconds, rounded for the wire."""
        return round(samples / self.rate, TIME_DECIMALS)

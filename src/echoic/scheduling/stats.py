"""Counts the batches and windows that a model has decoded."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from echoic.scheduling.fair_queue import DecodeJob

#: Upper bounds in seconds of the classes that decode times are counted in; one more class is above the last.
DECODE_TIME_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class ModelStats:
    """The backlog of a model and its totals since it was loaded."""

    model: str
    """The model's id."""
    queued_finals: int
    """Windows that wait to be decoded for a final."""
    queued_partials: int
    """Windows that wait to be decoded for a partial."""
    running: int
    """Windows that are being decoded."""
    batches: int
    """Decoded batches."""
    batch_sizes: Mapping[int, int]
    """Decoded batches by size."""
    windows: int
    """Decoded windows, failed ones included."""
    failures: int
    """Windows that failed."""
    audio_seconds: float
    """Seconds of audio in all decoded windows, context included."""
    decode_seconds: float
    """Wall time of all batches in seconds, summed over threads."""
    decode_time_counts: tuple[int, ...]
    """Batches by decode time: one count for each of ``DECODE_TIME_BOUNDS``, and one for longer ones."""
    is_unavailable: bool = False
    """The model hung or failed again after a reload; every window fails."""


@dataclass(slots=True)
class DecodeCounters:
    """Running totals of one model. Not thread-safe."""

    batch_sizes: Counter[int] = field(default_factory=Counter)
    failures: int = 0
    audio_seconds: float = 0.0
    decode_seconds: float = 0.0
    time_counts: list[int] = field(default_factory=lambda: [0] * (len(DECODE_TIME_BOUNDS) + 1))

    def record_batch(self, jobs: Sequence[DecodeJob], failures: int, seconds: float) -> None:
        """Count a decoded batch, of which ``failures`` windows failed, that took ``seconds``."""
        self.batch_sizes[len(jobs)] += 1
        self.failures += failures
        self.audio_seconds += sum(job.window.audio.size / job.window.sample_rate for job in jobs)
        self.decode_seconds += seconds
        self.time_counts[bisect_left(DECODE_TIME_BOUNDS, seconds)] += 1

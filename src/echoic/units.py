"""Conversions between samples and seconds."""

from __future__ import annotations

#: Decimals of a time on the wire: microseconds, finer than a sample at 192 kHz.
TIME_DECIMALS = 6


def to_samples(seconds: float, rate: int) -> int:
    """Return the whole number of samples nearest to ``seconds`` at ``rate`` samples per second."""
    return round(seconds * rate)


def to_seconds(samples: int, rate: int) -> float:
    """Return ``samples`` at ``rate`` samples per second as seconds, rounded for the wire."""
    return round(samples / rate, TIME_DECIMALS)


def rescale(samples: int, rate: int, new_rate: int) -> int:
    """Convert a position at ``rate`` samples per second to the nearest position at ``new_rate``."""
    return samples if rate == new_rate else (2 * samples * new_rate + rate) // (2 * rate)

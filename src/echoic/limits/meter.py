"""Whole samples to whole microseconds, without losing any."""

from __future__ import annotations

from typing import Final

from echoic.limits.quota import MICROSECONDS_PER_SECOND

#: Samples per second before anything is heard; any number will do, for nothing is left over.
_INITIAL_RATE: Final = 1


class AudioMeter:
    """Counts a stream's audio: after N samples at a rate, however cut, exactly ⌊N · 10⁶ / rate⌋ microseconds.

    What is left over of a microsecond waits for the next samples, also when the rate changes.
    """

    __slots__ = ("_rate", "_remainder", "consumed")

    def __init__(self) -> None:
        #: Microseconds so far.
        self.consumed = 0
        self._rate = _INITIAL_RATE
        self._remainder = 0  # of a microsecond, in parts of ``_rate``

    def compute_cost(self, samples: int, rate: int) -> int:
        """Return the microseconds by which ``samples`` more would bring ``consumed`` on."""
        self._change_rate(rate)
        return (self._remainder + samples * MICROSECONDS_PER_SECOND) // rate

    def count_affordable_samples(self, microseconds: int, rate: int) -> int:
        """Return the most samples that cost no more than ``microseconds``."""
        self._change_rate(rate)
        return ((microseconds + 1) * rate - 1 - self._remainder) // MICROSECONDS_PER_SECOND

    def add_samples(self, samples: int, rate: int) -> None:
        """Count samples."""
        self._change_rate(rate)
        whole, self._remainder = divmod(self._remainder + samples * MICROSECONDS_PER_SECOND, rate)
        self.consumed += whole

    def _change_rate(self, rate: int) -> None:
        if rate != self._rate:
            self._remainder = self._remainder * rate // self._rate
            self._rate = rate

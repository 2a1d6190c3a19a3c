"""Whole samples to whole microseconds, without losing any."""

from __future__ import annotations

from typing import Final

from echoic.limits.quota import MICROSECONDS

#: Samples per second before anything is heard; any number will do, for nothing is left over.
_FIRST_RATE: Final = 1


class Meter:
    """Counts a stream's audio: after N samples at a rate, however cut, exactly ⌊N · 10⁶ / rate⌋ microseconds.

    What is left over of a microsecond waits for the next samples, also when the rate changes.
    """

    __slots__ = ("_rate", "_rest", "heard")

    def __init__(self) -> None:
        #: Microseconds so far.
        self.heard = 0
        self._rate = _FIRST_RATE
        self._rest = 0  # of a microsecond, in parts of ``_rate``

    def cost(self, samples: int, rate: int) -> int:
        """Return the microseconds by which ``samples`` more would bring ``heard`` on."""
        self._tune(rate)
        return (self._rest + samples * MICROSECONDS) // rate

    def fitting(self, microseconds: int, rate: int) -> int:
        """Return the most samples that cost no more than ``microseconds``."""
        self._tune(rate)
        return ((microseconds + 1) * rate - 1 - self._rest) // MICROSECONDS

    def hear(self, samples: int, rate: int) -> None:
        """Count samples."""
        self._tune(rate)
        whole, self._rest = divmod(self._rest + samples * MICROSECONDS, rate)
        self.heard += whole

    def _tune(self, rate: int) -> None:
        if rate != self._rate:
            self._rest = self._rest * rate // self._rate
            self._rate = rate

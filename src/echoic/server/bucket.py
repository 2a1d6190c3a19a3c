"""A token bucket that is asked how long to wait, and refuses nothing."""

from __future__ import annotations

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

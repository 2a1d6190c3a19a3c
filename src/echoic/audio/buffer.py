"""Audio held for a while, addressed by its place in the stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Samples below which a smaller store is not worth a copy.
_MIN_CAPACITY = 1024
#: A store more than this many times larger than what it holds is cut down.
_GROWTH_FACTOR = 2


def _empty_samples() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


class AudioBuffer:
    """A mono float32 store addressed by absolute sample position.

    What is held lies contiguously in one array, so appending and forgetting cost amortised constant
    time a sample. Memory is at most twice what is held, plus 4 KiB; an empty tape holds nothing.

    Args:
        start: The position of the first sample that will be appended.
    """

    __slots__ = ("_head", "_size", "_start", "_samples")

    def __init__(self, start: int = 0) -> None:
        self._samples = _empty_samples()
        self._head = 0
        self._size = 0
        self._start = start

    @property
    def start(self) -> int:
        """The position of the first sample held."""
        return self._start

    @property
    def end(self) -> int:
        """The position after the last sample held: where the next one goes."""
        return self._start + self._size

    @property
    def nbytes(self) -> int:
        """Bytes of the store, used or spare."""
        return self._samples.nbytes

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add samples at the end.

        Args:
            samples: float32, shape ``(n,)``; copied.

        Raises:
            ValueError: The array is not one-dimensional.
        """
        if samples.ndim != 1:
            raise ValueError(f"A tape is mono: shape (n,), not {samples.shape}.")
        size = self._size + len(samples)
        if self._head + size > len(self._samples):
            self._ensure_capacity(size)
        tail = self._head + self._size
        self._samples[tail : tail + len(samples)] = samples
        self._size = size

    def read(self, start: int, end: int) -> NDArray[np.float32]:
        """Return a read-only copy of the samples from ``start`` up to, not including, ``end``.

        Returns:
            float32, shape ``(end - start,)``.

        Raises:
            ValueError: Part of it is not held, or ``end`` lies before ``start``.
        """
        if not self.start <= start <= end <= self.end:
            raise ValueError(f"Samples {start} to {end} were asked for; {self.start} to {self.end} are held.")
        first = self._head + start - self._start
        samples = self._samples[first : first + end - start].copy()
        samples.flags.writeable = False
        return samples

    def discard_before(self, before: int) -> None:
        """Drop the samples before a position; at most everything held, and never what follows."""
        dropped = min(before - self._start, self._size)
        if dropped <= 0:
            return
        self._start += dropped
        self._head += dropped
        self._size -= dropped
        if len(self._samples) > max(_GROWTH_FACTOR * self._size, _MIN_CAPACITY if self._size else 0):
            self._reallocate(self._size + self._size // 4)

    def clear(self, start: int = 0) -> None:
        """Drop everything; the next sample goes to the position ``start``."""
        self._samples = _empty_samples()
        self._head = self._size = 0
        self._start = start

    def _ensure_capacity(self, size: int) -> None:
        """Let ``size`` samples fit: in this store if they leave a quarter of it, else in a larger one."""
        if 4 * size <= 3 * len(self._samples):
            self._samples[: self._size] = self._samples[self._head : self._head + self._size]
            self._head = 0
        else:
            self._reallocate(size + size // 2)

    def _reallocate(self, capacity: int) -> None:
        store = np.empty(capacity, dtype=np.float32)
        store[: self._size] = self._samples[self._head : self._head + self._size]
        self._samples = store
        self._head = 0

"""Buffer for recent audio, addressed by absolute sample position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Capacity in samples below which the array is not shrunk.
_MIN_CAPACITY = 1024
#: The array is shrunk when its capacity exceeds this multiple of the buffered samples.
_SHRINK_RATIO = 2


def _empty_samples() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


class AudioBuffer:
    """A buffer of mono float32 samples, addressed by absolute sample position.

    Samples are contiguous in one array; appending and discarding take amortized constant time per sample.
    Memory is at most twice the buffered samples plus 4 KiB; an empty buffer allocates nothing.

    Args:
        start: The position of the first sample that will be appended.
    """

    __slots__ = ("_head", "_samples", "_size", "_start")

    def __init__(self, start: int = 0) -> None:
        self._samples = _empty_samples()
        self._head = 0
        self._size = 0
        self._start = start

    @property
    def start(self) -> int:
        """Position of the first buffered sample."""
        return self._start

    @property
    def end(self) -> int:
        """Position after the last buffered sample; the next one is appended here."""
        return self._start + self._size

    @property
    def nbytes(self) -> int:
        """Allocated bytes, used or spare."""
        return self._samples.nbytes

    def append(self, samples: NDArray[np.float32]) -> None:
        """Append samples.

        Args:
            samples: float32, shape ``(n,)``; copied.

        Raises:
            ValueError: The array is not one-dimensional.
        """
        if samples.ndim != 1:
            raise ValueError(f"Samples must be mono, of shape (n,), not {samples.shape}.")
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
            ValueError: Some of the samples are not buffered, or ``end`` is before ``start``.
        """
        if not self.start <= start <= end <= self.end:
            raise ValueError(f"Samples {start} to {end} requested, {self.start} to {self.end} buffered.")
        first = self._head + start - self._start
        samples = self._samples[first : first + end - start].copy()
        samples.flags.writeable = False
        return samples

    def discard_before(self, before: int) -> None:
        """Discard buffered samples before a position; a position after the end empties the buffer."""
        dropped = min(before - self._start, self._size)
        if dropped <= 0:
            return
        self._start += dropped
        self._head += dropped
        self._size -= dropped
        if len(self._samples) > max(_SHRINK_RATIO * self._size, _MIN_CAPACITY if self._size else 0):
            self._reallocate(self._size + self._size // 4)

    def clear(self, start: int = 0) -> None:
        """Discard all samples; the next one is appended at position ``start``."""
        self._samples = _empty_samples()
        self._head = self._size = 0
        self._start = start

    def _ensure_capacity(self, size: int) -> None:
        """Make room for ``size`` samples: move them to the front if they fill at most 3/4, else grow."""
        if 4 * size <= 3 * len(self._samples):
            self._samples[: self._size] = self._samples[self._head : self._head + self._size]
            self._head = 0
        else:
            self._reallocate(size + size // 2)

    def _reallocate(self, capacity: int) -> None:
        array = np.empty(capacity, dtype=np.float32)
        array[: self._size] = self._samples[self._head : self._head + self._size]
        self._samples = array
        self._head = 0

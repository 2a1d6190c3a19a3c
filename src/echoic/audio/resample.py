"""Streaming resampler whose output does not depend on how the input is divided into chunks."""

from __future__ import annotations

import math

import numpy as np
import soxr  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from echoic.units import rescale

#: soxr's recipe: 20 bits, passband 0 to 0.91 of the lower Nyquist frequency.
_QUALITY = "HQ"
#: Blocks per second passed to soxr: its buffers grow to the largest block and never shrink.
_BLOCKS_PER_SECOND = 50
#: Samples at the lower rate that the filter needs before a sample; half the length of HQ is about 100.
_FILTER_REACH = 192
#: Input positions to search for one that coincides with an output sample.
_ANCHOR_SEARCH = 1024


def _empty_samples() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


class Resampler:
    """Resamples a mono stream; output sample ``k`` lies at ``k / new_rate`` seconds.

    soxr works in blocks and delays its output by 10 to 120 ms. ``preview_tail`` estimates the delayed
    samples, so that a window can end at the latest input sample. Equal rates are passed through.

    An instance allocates nothing before the first sample, then 90 to 220 kB plus 90 to 250 ms of input.

    Args:
        rate: Samples per second of the input.
        new_rate: Samples per second of the output.

    Source:
        libsoxr (https://sourceforge.net/projects/soxr/) by python-soxr's ``ResampleStream``.
    """

    __slots__ = ("_consumed", "_emitted", "_new_rate", "_rate", "_recent", "_stream")

    def __init__(self, rate: int, new_rate: int) -> None:
        self._rate = rate
        self._new_rate = new_rate
        self._stream: soxr.ResampleStream | None = None
        self._consumed = 0
        self._emitted = 0
        self._recent = _empty_samples()

    @property
    def consumed(self) -> int:
        """Input samples so far, at ``rate``."""
        return self._consumed

    @property
    def emitted(self) -> int:
        """Output samples returned by ``push`` so far, at ``new_rate``."""
        return self._emitted

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample the next samples and return the output that is ready.

        Args:
            samples: float32, shape ``(n,)``, mono, -1..1, at ``rate``.

        Returns:
            float32, shape ``(m,)``, -1..1, at ``new_rate``; ``samples`` itself where the rates are equal.
        """
        self._consumed += len(samples)
        out = samples if self._rate == self._new_rate else self._resample_chunk(samples)
        self._emitted += len(out)
        if out is not samples:
            self._keep_recent(samples)
        return out

    def preview_tail(self) -> NDArray[np.float32]:
        """Estimate the output samples still inside the filter, as if silence followed.

        Does not change the stream. Later audio may change the last few milliseconds.

        Returns:
            float32, shape ``(rescale(consumed, rate, new_rate) - emitted,)``, -1..1, at ``new_rate``.
        """
        missing = rescale(self._consumed, self._rate, self._new_rate) - self._emitted
        if missing <= 0:
            return _empty_samples()
        start = self._find_anchor()
        recent = self._recent[start - (self._consumed - len(self._recent)) :]
        out = soxr.resample(recent, self._rate, self._new_rate, quality=_QUALITY)
        first = self._emitted - rescale(start, self._rate, self._new_rate)
        tail = np.zeros(missing, dtype=np.float32)
        known = out[first : first + missing]
        np.clip(known, -1.0, 1.0, out=tail[: len(known)])
        return tail

    def _resample_chunk(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if not len(samples):
            return _empty_samples()
        if self._stream is None:
            self._stream = soxr.ResampleStream(
                self._rate, self._new_rate, 1, dtype="float32", quality=_QUALITY
            )
        block = max(self._rate // _BLOCKS_PER_SECOND, 1)
        parts = [
            self._stream.resample_chunk(samples[at : at + block]) for at in range(0, len(samples), block)
        ]
        out = np.concatenate(parts)
        return np.clip(out, -1.0, 1.0, out=out)  # the filter overshoots at full scale

    def _keep_recent(self, samples: NDArray[np.float32]) -> None:
        """Keep the input that ``preview_tail`` may need."""
        kept = self._consumed - max(self._find_latest_anchor() - _ANCHOR_SEARCH, 0)
        if kept <= len(samples):
            self._recent = samples[len(samples) - kept :].copy()
        else:
            self._recent = np.concatenate((self._recent[len(samples) - kept :], samples))

    def _find_latest_anchor(self) -> int:
        """Return the last input position from which a new filter settles before the tail begins."""
        reach = math.ceil(_FILTER_REACH * max(self._rate / self._new_rate, 1.0))
        return max(self._emitted * self._rate // self._new_rate - reach, 0)

    def _find_anchor(self) -> int:
        """Return an input position shortly before the tail that coincides with an output sample."""
        latest = self._find_latest_anchor()
        positions = np.arange(latest, max(latest - _ANCHOR_SEARCH, -1), -1, dtype=np.int64)
        phases = positions * self._new_rate % self._rate
        return int(positions[np.argmin(np.minimum(phases, self._rate - phases))])

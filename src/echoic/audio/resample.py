"""A streaming resampler whose answers depend on the audio alone, never on how it was cut."""

from __future__ import annotations

import math

import numpy as np
import soxr  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

from echoic.units import rescale

#: soxr's recipe: 20 bits, passband 0 to 0.91 of the lower Nyquist frequency.
_QUALITY = "HQ"
#: Blocks a second that soxr is fed with: its buffers grow with the largest block and never shrink.
_BLOCKS_PER_SECOND = 50
#: Samples of the lower rate that the filter needs before a sample; HQ's half length is about 100.
_FILTER_REACH = 192
#: Input positions that are searched for one that falls on a sample of the output.
_ANCHOR_SEARCH = 1024


def _empty_samples() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


class Resampler:
    """Turns a mono stream at one rate into one at another, sample ``k`` lying at ``k / new_rate`` seconds.

    The filter gives samples out 10 to 120 ms late, as soxr works in blocks. ``preview_tail`` estimates those that
    are still inside it, so audio can be cut at a position as soon as it was heard. Equal rates pass through.

    An instance costs nothing before the first sample, then 90 to 220 kB, and 90 to 250 ms of input.

    Args:
        rate: Samples per second of what is pushed.
        new_rate: Samples per second of what comes out.

    Source:
        libsoxr (https://sourceforge.net/projects/soxr/) by python-soxr's ``ResampleStream``.
    """

    __slots__ = ("_emitted", "_consumed", "_new_rate", "_rate", "_recent", "_stream")

    def __init__(self, rate: int, new_rate: int) -> None:
        self._rate = rate
        self._new_rate = new_rate
        self._stream: soxr.ResampleStream | None = None
        self._consumed = 0
        self._emitted = 0
        self._recent = _empty_samples()

    @property
    def consumed(self) -> int:
        """Samples pushed so far, at ``rate``."""
        return self._consumed

    @property
    def emitted(self) -> int:
        """Samples returned by ``push`` so far, at ``new_rate``."""
        return self._emitted

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples and return those that have come out.

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
        """Return an estimate of the samples still inside the filter, as if silence followed.

        The stream is left as it is. What ``push`` has returned and the tail make ``rescale(heard)``
        samples. The last few milliseconds are the ones that later audio may change.

        Returns:
            float32, shape ``(rescale(heard, rate, new_rate) - emitted,)``, -1..1, at ``new_rate``.
        """
        missing = rescale(self._consumed, self._rate, self._new_rate) - self._emitted
        if missing <= 0:
            return _empty_samples()
        start = self._anchor()
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
        """Keep the input that a tail can need: from ``_ANCHOR_SEARCH`` positions before ``_find_latest_anchor``."""
        kept = self._consumed - max(self._find_latest_anchor() - _ANCHOR_SEARCH, 0)
        if kept <= len(samples):
            self._recent = samples[len(samples) - kept :].copy()
        else:
            self._recent = np.concatenate((self._recent[len(samples) - kept :], samples))

    def _find_latest_anchor(self) -> int:
        """Return the last input position whose filter is settled where the tail begins."""
        reach = math.ceil(_FILTER_REACH * max(self._rate / self._new_rate, 1.0))
        return max(self._emitted * self._rate // self._new_rate - reach, 0)

    def _anchor(self) -> int:
        """Return an input position, near enough before the tail, that falls on a sample of the output."""
        latest = self._find_latest_anchor()
        positions = np.arange(latest, max(latest - _ANCHOR_SEARCH, -1), -1, dtype=np.int64)
        phases = positions * self._new_rate % self._rate
        return int(positions[np.argmin(np.minimum(phases, self._rate - phases))])

"""Samples as the binary messages of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Samples in one message at most (4 s at 16 kHz, 256 KiB): far below the protocol's 8 MiB, and small
#: enough that a commit or a ping never waits long behind one message.
MESSAGE_SAMPLES = 65_536
#: The most channels that are taken; more are samples, and the array lies on its side.
MOST_CHANNELS = 64

_MATRIX = 2
#: Where zero lies in unsigned samples of 8 bits, as WAV files have them.
_MIDDLE = 128


def as_messages(samples: NDArray[Any]) -> Iterator[bytes]:
    """Yield the samples as raw little-endian float32, in messages of bounded size.

    Args:
        samples: As ``as_mono`` takes them.

    Raises:
        TypeError: As ``as_mono``.
        ValueError: The same.
    """
    mono = np.ascontiguousarray(as_mono(samples), dtype="<f4")
    for start in range(0, len(mono), MESSAGE_SAMPLES):
        yield mono[start : start + MESSAGE_SAMPLES].tobytes()


def as_mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples as mono float32 in -1..1.

    Args:
        samples: Floats of any size in -1..1, or integers at full scale: int8, int16, int32, or uint8 with
            its zero at 128. The shape is ``(n,)`` for mono, or ``(n, channels)``, which are averaged.

    Returns:
        float32, shape ``(n,)``; values beyond -1..1 are left for the server to clip.

    Raises:
        TypeError: They are neither.
        ValueError: The array has another shape.
    """
    samples = np.asarray(samples)
    if samples.ndim == _MATRIX and 1 <= samples.shape[1] <= MOST_CHANNELS:
        floats = _as_floats(samples)
        return floats[:, 0] if samples.shape[1] == 1 else floats.mean(axis=1, dtype=np.float32)
    if samples.ndim != 1:
        hint = ": is it (channels, n)? Then send samples.T" if samples.ndim == _MATRIX else ""
        raise ValueError(f"Samples must have the shape (n,) or (n, channels), not {samples.shape}{hint}.")
    return _as_floats(samples)


def _as_floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    kind = samples.dtype
    if kind.kind == "f":
        return samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        return (samples.astype(np.float32) - _MIDDLE) / np.float32(_MIDDLE)
    if kind.kind == "i" and kind.itemsize <= np.dtype(np.int32).itemsize:
        return samples.astype(np.float32) / np.float32(2 ** (8 * kind.itemsize - 1))
    raise TypeError(f"Samples must be floats in -1..1 or whole numbers of 8, 16 or 32 bits, not {kind}.")

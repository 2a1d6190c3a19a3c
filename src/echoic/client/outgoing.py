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

_MATRIX = 2


def as_messages(samples: NDArray[np.floating[Any]]) -> Iterator[bytes]:
    """Yield the samples as raw little-endian float32, in messages of bounded size.

    Args:
        samples: Floats in -1..1, shape ``(n,)`` for mono or ``(n, channels)``, which are averaged.

    Raises:
        TypeError: The samples are not floats.
        ValueError: The array has another shape.
    """
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise TypeError(f"Samples must be floats in -1..1, not {samples.dtype}: divide int16 by 32768.")
    if samples.ndim == _MATRIX and samples.shape[1]:
        samples = samples.mean(axis=1)
    if samples.ndim != 1:
        raise ValueError(f"Samples must have the shape (n,) or (n, channels), not {samples.shape}.")
    mono = np.ascontiguousarray(samples, dtype="<f4")
    for start in range(0, len(mono), MESSAGE_SAMPLES):
        yield mono[start : start + MESSAGE_SAMPLES].tobytes()

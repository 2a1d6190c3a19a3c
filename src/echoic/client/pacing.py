"""Yields audio at the pace of speech."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Seconds of audio in a message at the pace of speech, as microphone drivers deliver it.
CHUNK_SECONDS = 0.1


async def pace_audio(
    chunks: Iterator[NDArray[np.float32]], sample_rate: int, speed: float | None = 1.0
) -> AsyncGenerator[NDArray[np.float32], None]:
    """Yield each chunk when its last sample would have been spoken; chunks are read in a thread.

    Args:
        chunks: float32, shape ``(n,)``.
        sample_rate: Their samples per second.
        speed: Multiple of the pace of speech. If None, it does not wait.
    """
    start, seconds = time.perf_counter(), 0.0
    while (piece := await asyncio.to_thread(next, chunks, None)) is not None:
        seconds += len(piece) / sample_rate
        if speed:
            await asyncio.sleep(start + seconds / speed - time.perf_counter())
        yield piece

"""One recording through a server: samples go out while frames come in."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.client import Received, Stream, connect
from echoic.media import UnreadableAudio


@dataclass(frozen=True, slots=True)
class Talk:
    """What is streamed, and how.

    Attributes:
        pieces: float32, mono, -1..1, at the configured rate.
        show: Called with each frame.
        sent: Called with the seconds of audio sent so far, after each piece.
        speed: How many times as fast as it was spoken; None: as fast as the server takes it.
        key: The server's key.
        config: Keys of the ``config`` frame.
    """

    pieces: Iterator[NDArray[np.float32]]
    show: Callable[[Received], None]
    sent: Callable[[float], None]
    speed: float | None = None
    key: str | None = field(default=None, repr=False)
    config: dict[str, object] = field(default_factory=dict)


async def converse(address: str, talk: Talk, enough: asyncio.Event) -> str:
    """Stream everything, or until ``enough`` is set; when all of it is delivered, return the model's name.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded; what could be is delivered first.
    """
    async with (
        connect(address, key=talk.key, patience=0.0, **talk.config) as stream,
        _beside(_speak(stream, talk, enough)),
    ):
        async for frame in stream:
            talk.show(frame)
    return stream.configured.active_model


async def _speak(stream: Stream, talk: Talk, enough: asyncio.Event) -> None:
    try:
        await _send_all(stream, talk, enough)
    except UnreadableAudio:
        await stream.stop()
        raise
    await stream.stop()


async def _send_all(stream: Stream, talk: Talk, enough: asyncio.Event) -> None:
    rate = stream.configured.sample_rate
    start, seconds = time.perf_counter(), 0.0
    while (piece := await asyncio.to_thread(next, talk.pieces, None)) is not None:
        seconds += len(piece) / rate  # a piece can be sent when its last sample was spoken
        early = start + seconds / talk.speed - time.perf_counter() if talk.speed else 0.0
        if await _is_set_within(enough, early):
            return
        await stream.send(piece)
        talk.sent(seconds)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            await event.wait()
    except TimeoutError:
        return False
    return True


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the block and wait for it; if the block fails, its error counts and work ends."""
    task = asyncio.create_task(work)
    try:
        yield
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; it says the same
        raise
    await task

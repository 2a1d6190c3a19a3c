"""One recording through a server: samples go out while frames come in."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.client import ConnectionState, ReceivedFrame, ServerError, Stream, UnreadableAudio, connect

#: Seconds after which a server hears of a client whose source is silent.
_KEEPALIVE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What is streamed, and how.

    Attributes:
        pieces: float32, mono, -1..1, at the configured rate, when they are to be sent.
        on_frame: Called with each frame.
        on_sent: Called with the seconds of audio sent so far, after each piece.
        on_state: Called when the connection is lost, and when the stream goes on over another.
        api_key: The server's key.
        config: Keys of the ``config`` frame.
    """

    pieces: AsyncGenerator[NDArray[np.float32], None]
    on_frame: Callable[[ReceivedFrame], None]
    on_sent: Callable[[float], None]
    on_state: Callable[[ConnectionState], None] | None = None
    api_key: str | None = field(default=None, repr=False)
    config: dict[str, object] = field(default_factory=dict)


async def run_stream(address: str, request: StreamRequest, stop_requested: asyncio.Event) -> str:
    """Stream everything, or until ``stop_requested`` is set; when all of it is delivered, return the model's name.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded; what could be is delivered first.
    """
    async with (
        aclosing(request.pieces),
        connect(address, key=request.api_key, patience=0.0, **request.config) as stream,
        _run_alongside(_send_until_stopped(stream, request, stop_requested)),
    ):
        stream.on_state = request.on_state
        async for frame in stream:
            request.on_frame(frame)
    return stream.configured.active_model


async def _send_until_stopped(stream: Stream, request: StreamRequest, stop_requested: asyncio.Event) -> None:
    sending = asyncio.create_task(_send_pieces(stream, request))
    others = asyncio.create_task(stop_requested.wait()), asyncio.create_task(_send_keepalives(stream))
    try:
        await asyncio.wait([sending, others[0]], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, *others):
            task.cancel()
        await asyncio.wait([sending, *others])
    failed = None if sending.cancelled() else sending.exception()
    if failed is None or isinstance(failed, UnreadableAudio):
        await stream.stop()
    if failed is not None:
        await stream.close()  # whoever reads waits no longer
        raise failed


async def _send_pieces(stream: Stream, request: StreamRequest) -> None:
    rate, seconds = stream.configured.sample_rate, 0.0
    async for piece in request.pieces:
        await stream.send(piece)
        seconds += len(piece) / rate
        request.on_sent(seconds)


async def _send_keepalives(stream: Stream) -> None:
    """Keep a stream open whose source is silent: a pipe that waits, a sound card that sleeps."""
    with suppress(ServerError):  # whoever reads is told the same
        while True:
            await asyncio.sleep(_KEEPALIVE_SECONDS)
            await stream.ping()


@asynccontextmanager
async def _run_alongside(coroutine: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``coroutine`` beside the block and wait for it; if the block fails, its error counts and work ends."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    except BaseException:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen; it says the same
        raise
    await task

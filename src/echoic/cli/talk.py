"""One recording through a server: samples go out while frames come in."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.client import ConnectionState, Received, ServerError, Stream, UnreadableAudio, connect

#: Seconds after which a server hears of a client whose source is silent.
_SIGN_OF_LIFE = 20.0


@dataclass(frozen=True, slots=True)
class Talk:
    """What is streamed, and how.

    Attributes:
        pieces: float32, mono, -1..1, at the configured rate, when they are to be sent.
        show: Called with each frame.
        sent: Called with the seconds of audio sent so far, after each piece.
        on_state: Called when the connection is lost, and when the stream goes on over another.
        key: The server's key.
        config: Keys of the ``config`` frame.
    """

    pieces: AsyncGenerator[NDArray[np.float32], None]
    show: Callable[[Received], None]
    sent: Callable[[float], None]
    on_state: Callable[[ConnectionState], None] | None = None
    key: str | None = field(default=None, repr=False)
    config: dict[str, object] = field(default_factory=dict)


async def converse(address: str, talk: Talk, enough: asyncio.Event) -> str:
    """Stream everything, or until ``enough`` is set; when all of it is delivered, return the model's name.

    Raises:
        ServerError: No server is there, it refused, or it ended the stream.
        UnreadableAudio: The audio cannot be decoded; what could be is delivered first.
    """
    async with (
        aclosing(talk.pieces),
        connect(address, key=talk.key, patience=0.0, **talk.config) as stream,
        _beside(_speak(stream, talk, enough)),
    ):
        stream.on_state = talk.on_state
        async for frame in stream:
            talk.show(frame)
    return stream.configured.active_model


async def _speak(stream: Stream, talk: Talk, enough: asyncio.Event) -> None:
    sending = asyncio.create_task(_send_all(stream, talk))
    others = asyncio.create_task(enough.wait()), asyncio.create_task(_give_signs_of_life(stream))
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


async def _send_all(stream: Stream, talk: Talk) -> None:
    rate, seconds = stream.configured.sample_rate, 0.0
    async for piece in talk.pieces:
        await stream.send(piece)
        seconds += len(piece) / rate
        talk.sent(seconds)


async def _give_signs_of_life(stream: Stream) -> None:
    """Keep a stream open whose source is silent: a pipe that waits, a sound card that sleeps."""
    with suppress(ServerError):  # whoever reads is told the same
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE)
            await stream.ping()


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

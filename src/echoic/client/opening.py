"""Opening a stream, and the shortest way from samples to finals."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException

from echoic.client.address import LOOPBACK, shown_address
from echoic.client.failure import ServerError
from echoic.client.stream import Stream
from echoic.wire.frames import Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable

    import numpy as np
    from numpy.typing import NDArray
    from websockets.asyncio.client import ClientConnection

#: The largest message taken from a server, in bytes; the protocol's own limit for a client's.
MAX_MESSAGE = 2**23
#: Seconds a server may leave a keepalive ping unanswered. It stops reading while it has more audio than
#: it can decode, so a busy server answers late; only one that is gone stays silent this long.
PING_TIMEOUT = 300.0

_REFUSED = frozenset({401, 403})


@asynccontextmanager
async def connect(url: str, *, key: str | None = None, **config: object) -> AsyncIterator[Stream]:
    """Open a stream, configured and ready for samples; leaving the block closes it.

    Args:
        url: The WebSocket URL of the stream endpoint (see ``stream_address`` for shorter forms).
        key: The key, sent as ``Authorization: Bearer``; never logged.
        **config: Keys of the protocol's ``config`` frame, e.g. ``sample_rate=48000, language="en"``.

    Yields:
        The stream.

    Raises:
        ServerError: No server is there, it refused, or it cannot take this configuration.
        ValueError: ``audio_format`` or ``channels`` is given: this client always sends mono float32.
    """
    if fixed := {"audio_format", "channels"} & config.keys():
        raise ValueError(f"{', '.join(sorted(fixed))}: this client always sends mono float32.")
    stream = Stream(await _open(url, key))
    try:
        await stream.configure(config)
        yield stream
    finally:
        await stream.close()


async def transcribe(
    url: str,
    chunks: Iterable[NDArray[np.floating[Any]]] | AsyncIterable[NDArray[np.floating[Any]]],
    *,
    key: str | None = None,
    **config: object,
) -> list[Final]:
    """Send all chunks as fast as the server takes them and return the finals.

    Args:
        url: The WebSocket URL of the stream endpoint.
        chunks: Floats in -1..1, each ``(n,)`` or ``(n, channels)``.
        key: The key.
        **config: Keys of the ``config`` frame.

    Raises:
        ServerError: As ``connect``, or the stream ended early.
    """
    async with connect(url, key=key, **{"enable_partial": False, **config}) as stream:
        if hasattr(chunks, "__aiter__"):
            async for chunk in chunks:
                await stream.send(chunk)
        else:
            for chunk in chunks:
                await stream.send(chunk)
        await stream.stop()
        return [frame async for frame in stream if isinstance(frame, Final)]


async def _open(url: str, key: str | None) -> ClientConnection:
    shown = shown_address(url)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return await open_socket(
            url,
            additional_headers=headers,
            compression=None,
            max_size=MAX_MESSAGE,
            ping_timeout=PING_TIMEOUT,
            proxy=None if urlsplit(url).hostname in LOOPBACK else True,
            logger=_socket_log(),
        )
    except (InvalidURI, ValueError):
        raise ServerError("unreachable", f"{shown} is not the address of a server.") from None
    except InvalidStatus as error:
        raise _refused(shown, error.response.status_code) from None
    except (OSError, TimeoutError, WebSocketException):
        # ``from None`` throughout: what these carry quotes the URL, which may hold a key.
        raise ServerError("unreachable", f"No echoic server answers at {shown}.") from None


def _refused(shown: str, status: int) -> ServerError:
    if status in _REFUSED:
        return ServerError("unauthorized", f"The server at {shown} asks for a valid key.")
    return ServerError("unreachable", f"{shown} answers, but not as an echoic server does (HTTP {status}).")


def _socket_log() -> logging.Logger:
    """Return the socket's logger, kept above debug: there it would write the key's header."""
    log = logging.getLogger("echoic.client.socket")
    log.setLevel(logging.INFO)
    return log

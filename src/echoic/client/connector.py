"""Opens streams: ``connect``, with authentication and retry, and ``transcribe`` for whole recordings."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidMessage, InvalidStatus, InvalidURI, WebSocketException

from echoic.client.address import LOOPBACK_HOSTS, redact_address, resolve_stream_url
from echoic.client.errors import ServerError, build_untrusted_error
from echoic.client.stream import Stream
from echoic.protocol.frames import Final

if TYPE_CHECKING:
    from typing_extensions import TypeIs

#: The largest message accepted from a server, in bytes: the protocol's limit for clients.
MAX_MESSAGE_BYTES = 2**23
#: Seconds for which a server may leave a keepalive ping unanswered. A server under backpressure stops
#: reading, so it answers late; only a dead one stays silent this long.
PING_TIMEOUT_SECONDS = 300.0
#: Seconds that a server may take to answer a close before the connection is dropped.
CLOSE_TIMEOUT_SECONDS = 2.0
#: Seconds between retries while the key has its maximum of streams: the server cannot say when one ends.
_STREAM_LIMIT_PAUSE = 2.0

#: HTTP status codes of refused handshakes.
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 400, 401, 403, 404


@asynccontextmanager
async def connect(
    url: str, *, key: str | None = None, retry_seconds: float = 0.0, **config: object
) -> AsyncIterator[Stream]:
    """Open a stream, configured and ready for samples; leaving the block closes it.

    If the connection is lost, the stream reconnects and continues without losing or repeating a word;
    ``resumable=False`` switches that off.

    Args:
        url: The server, ``ws://host:port`` or any other form that ``resolve_stream_url`` accepts; without a
            path, the unified endpoint.
        key: The key, sent as ``Authorization: Bearer`` and never logged. White space around it is removed.
        retry_seconds: Seconds for which connecting is retried, as often as the server advises, while the
            server is busy or the key has its maximum number of streams. 0 means no retry.
        **config: Keys of the protocol's ``config`` frame, e.g. ``sample_rate=48000, language="en"``.

    Yields:
        The stream.

    Raises:
        ServerError: No server answers, or it refused the key or the config.
        ValueError: ``audio_format`` or ``channels`` is given: this client always sends mono float32. Or the
            key contains a control character.
    """
    if fixed := {"audio_format", "channels"} & config.keys():
        raise ValueError(f"{', '.join(sorted(fixed))}: this client always sends mono float32.")
    sent = (key or "").strip()
    if not sent.isprintable():
        raise ValueError("The key contains a line end or another control character.")

    async def reopen() -> ClientConnection:
        return await _open_connection(url, sent)

    stream = await _open_stream(reopen, {"resumable": True, **config}, retry_seconds)
    try:
        yield stream
    finally:
        await stream.close()


async def transcribe(
    url: str,
    audio: Path | str | BinaryIO | NDArray[Any] | Iterable[NDArray[Any]] | AsyncIterable[NDArray[Any]],
    *,
    key: str | None = None,
    retry_seconds: float = 0.0,
    **config: object,
) -> list[Final]:
    """Send a recording as fast as the server accepts it and return the finals.

    Args:
        url: As for ``connect``.
        audio: A file as for ``Stream.send_file``, an array of samples as for ``Stream.send``, or several,
            in order.
        key: The key.
        retry_seconds: As for ``connect``.
        **config: Keys of the ``config`` frame.

    Raises:
        ServerError: As ``connect``, or the stream ended early.
        UnreadableAudio: As ``Stream.send_file``.
    """
    async with connect(
        url, key=key, retry_seconds=retry_seconds, **{"enable_partial": False, **config}
    ) as stream:
        if is_file(audio):
            await stream.send_file(audio)
        elif isinstance(audio, AsyncIterable):
            async for samples in audio:
                await stream.send(samples)
        else:
            for samples in iterate_arrays(audio):
                await stream.send(samples)
        await stream.stop()
        return [frame async for frame in stream if isinstance(frame, Final)]


def is_file(audio: object) -> TypeIs[Path | str | BinaryIO]:
    """Return whether ``audio`` is a file or the path of one."""
    return isinstance(audio, str | Path) or hasattr(audio, "read")


def iterate_arrays(audio: NDArray[Any] | Iterable[NDArray[Any]]) -> Iterable[NDArray[Any]]:
    """Return the arrays of ``audio``; a single array is one array, not its rows."""
    return (audio,) if isinstance(audio, np.ndarray) else audio


async def _open_stream(
    open_connection: Callable[[], Awaitable[ClientConnection]],
    config: Mapping[str, object],
    retry_seconds: float,
) -> Stream:
    clock = asyncio.get_running_loop().time
    end = clock() + retry_seconds
    while True:
        stream = Stream(await open_connection(), open_connection)
        try:
            await stream.configure(config)
        except ServerError as error:
            await stream.close()
            pause = _find_retry_pause(error)
            if pause is None or clock() + pause > end:
                raise
            await asyncio.sleep(pause * random.uniform(1.0, 1.2))  # noqa: S311  # jitter, not a secret
        except BaseException:
            await stream.close()
            raise
        else:
            return stream


def _find_retry_pause(error: ServerError) -> float | None:
    """Return the seconds to wait before a retry; None if a retry cannot help."""
    if error.detail.get("quota") == "concurrent_streams":
        return _STREAM_LIMIT_PAUSE
    pause = error.detail.get("retry_after")
    return pause if isinstance(pause, int | float) else None


async def _open_connection(url: str, key: str) -> ClientConnection:
    shown, address = redact_address(url), ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        address = resolve_stream_url(url)
        return await open_socket(
            address,
            additional_headers=headers,
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            ping_timeout=PING_TIMEOUT_SECONDS,
            close_timeout=CLOSE_TIMEOUT_SECONDS,
            proxy=None if urlsplit(address).hostname in LOOPBACK_HOSTS else True,
            logger=_get_socket_logger(),
        )
    except ssl.SSLCertVerificationError as error:  # a ValueError too
        raise build_untrusted_error(shown, error) from None
    except (InvalidURI, ValueError):
        raise ServerError("unreachable", f"{shown} is not the address of a server.") from None
    except InvalidStatus as error:
        raise _build_refusal_error(shown, error.response.status_code, address) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        # ``from None`` throughout: the original errors quote the URL, which may hold a key.
        other = _guess_scheme(address, error)
        hint = f" Something answered there; try {other}://." if other else ""
        raise ServerError(
            "unreachable", f"No echoic server answers at {shown}.{hint}", {"perhaps": other} if other else {}
        ) from None


def _guess_scheme(address: str, error: Exception) -> str | None:
    """Return the scheme to suggest if a server accepted the connection but speaks another protocol."""
    if isinstance(error, ssl.SSLError):
        return "ws"
    was_cut = isinstance(error, InvalidMessage | ConnectionResetError)
    return "wss" if was_cut and address.startswith("ws:") else None


def _build_refusal_error(server: str, status: int, address: str) -> ServerError:
    detail = {"status": status}
    if status == _UNAUTHORIZED:
        return ServerError("unauthorized", f"The server at {server} asks for a valid key.")
    if status == _NOT_FOUND:
        return ServerError("unreachable", f"There is no stream endpoint at {server} (HTTP 404).", detail)
    if status == _FORBIDDEN:  # many servers answer unknown paths with this
        return ServerError(
            "unreachable",
            f"Access denied at {server} (HTTP 403): there may be no stream endpoint there, or a proxy in "
            "front of it may need a key.",
            detail,
        )
    # Proxies answer plain connections to their TLS port with this status.
    hint = " Try wss://." if status == _BAD_REQUEST and address.startswith("ws:") else ""
    return ServerError(
        "unreachable", f"{server} answers, but not like an echoic server (HTTP {status}).{hint}", detail
    )


def _get_socket_logger() -> logging.Logger:
    """Return the logger of the socket, at info level: at debug level it would log the header with the key."""
    log = logging.getLogger("echoic.client.socket")
    log.setLevel(logging.INFO)
    return log

"""A server as a process: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Final

import uvicorn

from echoic.limits.keys import KeyStoreUnavailable
from echoic.server.app import House, build_app
from echoic.server.http import Http
from echoic.server.log import event, set_up_logging
from echoic.server.routes import STREAM_PATH
from echoic.server.settings import is_loopback
from echoic.server.websocket import WebSocket
from echoic.wire.codec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fastapi import FastAPI

    from echoic.engines.registry import Registry
    from echoic.server.log import Value
    from echoic.server.settings import Settings

log = logging.getLogger(__name__)

#: Up to here an over-long message is read, so that its sender can be told ``frame_too_large``.
_LONGEST_READ: Final = 2 * MAX_MESSAGE_BYTES
#: Seconds between pings to the client, which keep proxies from closing a silent connection.
_PING_SECONDS: Final = 20.0
#: Seconds that HTTP answers may take once all streams are closed.
_LAST_ANSWERS_SECONDS: Final = 2


def serve(settings: Settings, registry: Registry | None = None) -> None:
    """Serve until a signal stops it; the streams that are open then deliver what they heard.

    A second signal ends the process at once.

    Args:
        settings: What the server is told.
        registry: The models there are; None: all of this version.

    Raises:
        SystemExit: The address cannot be listened on, or the store of keys cannot be opened (status 1).
    """
    set_up_logging(settings)
    try:
        listener = _listen(settings)
    except OSError as error:
        number = error.errno or 0  # negative where the name could not be found
        reason = (os.strerror(number) if number > 0 else str(error.strerror)).lower()
        sys.stderr.write(f"echoic cannot listen on {settings.host} port {settings.port}: {reason}.\n")
        raise SystemExit(1) from None
    app = build_app(settings, registry)
    try:
        asyncio.run(_try_keys(app.state.house))
    except KeyStoreUnavailable:  # it is logged
        raise SystemExit(1) from None
    EchoicServer(app, settings).run([listener])


class EchoicServer(uvicorn.Server):
    """Uvicorn that says where it is, and lets streams finish before it goes.

    Args:
        app: From ``build_app``.
        settings: What it was told.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                ssl_certfile=settings.tls_cert_file,
                ssl_keyfile=settings.tls_key_file,
                log_config=None,
                access_log=False,
                server_header=False,
                http=Http.within(settings.handshake_timeout_seconds),
                proxy_headers=False,  # whose word about addresses counts, the settings say
                ws=WebSocket,
                ws_max_size=_LONGEST_READ,
                ws_per_message_deflate=False,
                ws_ping_interval=_PING_SECONDS,
                ws_ping_timeout=settings.ping_timeout_seconds,
                timeout_graceful_shutdown=_LAST_ANSWERS_SECONDS,
            )
        )
        self._house: House = app.state.house
        self._greeting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and greet once the default model is loaded."""
        await super().startup(sockets)
        if sockets:
            self._greeting = asyncio.create_task(self._greet(sockets[0].getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the streams deliver what they heard, then stop."""
        await self._house.service.streams.drain(self._house.settings.drain_seconds)
        if self._greeting is not None:
            self._greeting.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's signature
        """Stop at the first signal; end at once at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def _greet(self, port: int) -> None:
        await self._house.ready.settled.wait()
        if self._house.settings.log_format == "json":  # lines of text would be none of them
            event(log, logging.INFO, "server.started", **_about(self._house, port))
            return
        sys.stdout.write("\n".join(_greeting(self._house, port)) + "\n")
        sys.stdout.flush()


async def _try_keys(house: House) -> None:
    async with house.entrance.open():
        pass


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    # A peer that acknowledges nothing for so long is gone; accepted sockets inherit the option.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = round(settings.send_timeout_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listener


def _place(settings: Settings, port: int) -> str:
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "localhost"  # noqa: S104  # compared only
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _about(house: House, port: int) -> dict[str, Value]:
    settings = house.settings
    tls = "s" if settings.tls_cert_file else ""
    return {
        "url": f"ws{tls}://{_place(settings, port)}{STREAM_PATH}",
        "models": " ".join(house.service.means.engines.loaded),
        "waits_for": house.ready.waits_for,
        "asks_for_key": settings.asks_for_key,
    }


def _greeting(house: House, port: int) -> Iterator[str]:
    settings = house.settings
    place = _place(settings, port)
    if house.ready.waits_for is not None:
        yield f"echoic cannot transcribe yet: {house.ready.waits_for}"
    else:
        yield f"echoic is ready ({', '.join(house.service.means.engines.loaded) or 'no model loaded yet'})."
    for sentence in house.ready.unmet:
        yield f"  {sentence}"
    tls = "s" if settings.tls_cert_file else ""
    key = " --key KEY" if settings.asks_for_key else ""
    yield f"  page       http{tls}://{place}/"
    yield f"  WebSocket  ws{tls}://{place}{STREAM_PATH}"
    yield f"  try it     {_program()} stream FILE --url ws{tls}://{place}{key}"
    if not settings.asks_for_key and not is_loopback(settings.host):
        yield "  Everyone in the network may use it: no API key is set."


def _program() -> str:
    """Return how this program is called: its name if the shell finds it, else its place from here."""
    if shutil.which("echoic"):
        return "echoic"
    return os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("echoic") else f"{sys.executable} -m echoic"

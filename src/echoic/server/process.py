"""A server as a process: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from echoic.auth.keys import KeyStoreUnavailable
from echoic.engines.registry import Registry
from echoic.observability.logging import LogValue, log_event, set_up_logging
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from echoic.protocol.constants import STREAM_PATH
from echoic.server.app import build_app
from echoic.server.context import ServerContext
from echoic.server.settings.groups import Settings
from echoic.server.settings.validate import is_loopback
from echoic.server.uvicorn_protocols import BoundedWebSocketProtocol, TimedHttpProtocol

log = logging.getLogger(__name__)

#: Up to here an over-long message is read, so that its sender can be told ``frame_too_large``.
_MAX_READ_BYTES: Final = 2 * MAX_MESSAGE_BYTES
#: Seconds between pings to the client, which keep proxies from closing a silent connection.
_PING_SECONDS: Final = 20.0
#: Seconds that HTTP answers may take once all streams are closed.
_HTTP_SHUTDOWN_SECONDS: Final = 2


def serve(settings: Settings, registry: Registry | None = None) -> None:
    """Serve until a signal stops it; the streams that are open then deliver what they heard.

    A second signal ends the process at once.

    Args:
        settings: What the server is told.
        registry: The models there are; None: all of this version.

    Raises:
        SystemExit: The address cannot be listened on, or the store of keys cannot be opened (status 1).
    """
    set_up_logging(settings.server.log_level, settings.server.log_format)
    try:
        listener = _open_listener(settings)
    except OSError as error:
        number = error.errno or 0  # negative where the name could not be found
        reason = (os.strerror(number) if number > 0 else str(error.strerror)).lower()
        sys.stderr.write(
            f"echoic cannot listen on {settings.server.host} port {settings.server.port}: {reason}.\n"
        )
        raise SystemExit(1) from None
    app = build_app(settings, registry)
    try:
        asyncio.run(_check_key_store(app.state.context))
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
                host=settings.server.host,
                port=settings.server.port,
                ssl_certfile=settings.server.tls_cert_file,
                ssl_keyfile=settings.server.tls_key_file,
                log_config=None,
                access_log=False,
                server_header=False,
                http=TimedHttpProtocol.with_timeout(settings.server.handshake_timeout_seconds),
                proxy_headers=False,  # whose word about addresses counts, the settings say
                ws=BoundedWebSocketProtocol,
                ws_max_size=_MAX_READ_BYTES,
                ws_per_message_deflate=False,
                ws_ping_interval=_PING_SECONDS,
                ws_ping_timeout=settings.server.ping_timeout_seconds,
                timeout_graceful_shutdown=_HTTP_SHUTDOWN_SECONDS,
            )
        )
        self._context: ServerContext = app.state.context
        self._greeting_task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and greet once the default model is loaded."""
        await super().startup(sockets)
        if sockets:
            self._greeting_task = asyncio.create_task(self._print_greeting(sockets[0].getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the streams deliver what they heard, then stop."""
        await self._context.services.streams.drain(self._context.settings.server.drain_seconds)
        if self._greeting_task is not None:
            self._greeting_task.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's signature
        """Stop at the first signal; end at once at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def _print_greeting(self, port: int) -> None:
        await self._context.readiness.settled.wait()
        if self._context.settings.server.log_format == "json":  # lines of text would be none of them
            log_event(log, logging.INFO, "server.started", **_build_started_event(self._context, port))
            return
        sys.stdout.write("\n".join(_render_greeting(self._context, port)) + "\n")
        sys.stdout.flush()


async def _check_key_store(context: ServerContext) -> None:
    async with context.access.open_key_store():
        pass


def _open_listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    listener = socket.create_server((settings.server.host, settings.server.port), family=family, backlog=2048)
    # A peer that acknowledges nothing for so long is gone; accepted sockets inherit the option.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = round(settings.server.send_timeout_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listener


def _format_address(settings: Settings, port: int) -> str:
    host = settings.server.host
    host = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared only
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _build_started_event(context: ServerContext, port: int) -> dict[str, LogValue]:
    settings = context.settings
    tls = "s" if settings.server.tls_cert_file else ""
    return {
        "url": f"ws{tls}://{_format_address(settings, port)}{STREAM_PATH}",
        "models": " ".join(context.services.engines.loaded_models),
        "waits_for": context.readiness.waits_for,
        "asks_for_key": settings.auth.is_key_required,
    }


def _render_greeting(context: ServerContext, port: int) -> Iterator[str]:
    settings = context.settings
    place = _format_address(settings, port)
    if context.readiness.waits_for is not None:
        yield f"echoic cannot transcribe yet: {context.readiness.waits_for}"
    else:
        yield f"echoic is ready ({', '.join(context.services.engines.loaded_models) or 'no model loaded yet'})."
    for sentence in context.readiness.unmet_settings:
        yield f"  {sentence}"
    tls = "s" if settings.server.tls_cert_file else ""
    key = " --key KEY" if settings.auth.is_key_required else ""
    yield f"  page       http{tls}://{place}/"
    yield f"  WebSocket  ws{tls}://{place}{STREAM_PATH}"
    yield f"  try it     {_find_program_name()} stream FILE --url ws{tls}://{place}{key}"
    if not settings.auth.is_key_required and not is_loopback(settings.server.host):
        yield "  Everyone in the network may use it: no API key is set."


def _find_program_name() -> str:
    """Return how this program is called: its name if the shell finds it, else its place from here."""
    if shutil.which("echoic"):
        return "echoic"
    return os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("echoic") else f"{sys.executable} -m echoic"

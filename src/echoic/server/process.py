"""Runs the server as a process: listening socket, signals, startup message and graceful shutdown."""

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

from echoic.auth.key_store import KeyStoreUnavailable
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

#: Messages up to this size are read, so that too long ones are answered with ``frame_too_large``.
_MAX_READ_BYTES: Final = 2 * MAX_MESSAGE_BYTES
#: Seconds between pings, which keep proxies from closing an idle connection.
_PING_SECONDS: Final = 20.0
#: Seconds that pending HTTP responses may take after all streams are closed.
_HTTP_SHUTDOWN_SECONDS: Final = 2


def serve(settings: Settings, registry: Registry | None = None) -> None:
    """Serve until a signal arrives, then finish the open streams.

    A second signal ends the process at once.

    Args:
        settings: The server's settings.
        registry: The models that streams may ask for. None means all models of this version.

    Raises:
        SystemExit: The server cannot listen on its address, or the key store cannot be opened (status 1).
    """
    set_up_logging(settings.server.log_level, settings.server.log_format)
    try:
        listener = _open_listener(settings)
    except OSError as error:
        number = error.errno or 0  # negative if the host name cannot be resolved
        reason = (os.strerror(number) if number > 0 else str(error.strerror)).lower()
        sys.stderr.write(
            f"echoic cannot listen on {settings.server.host} port {settings.server.port}: {reason}.\n"
        )
        raise SystemExit(1) from None
    app = build_app(settings, registry)
    try:
        asyncio.run(_check_key_store(app.state.context))
    except KeyStoreUnavailable:  # already logged
        raise SystemExit(1) from None
    EchoicServer(app, settings).run([listener])


class EchoicServer(uvicorn.Server):
    """A uvicorn server that prints a startup message and finishes its streams before it stops.

    Args:
        app: The application that ``build_app`` returned.
        settings: The settings that the application was built from.
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
                proxy_headers=False,  # the setting trusted_proxies is used instead
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
        """Start, and print the startup message once the default model is loaded."""
        await super().startup(sockets)
        if sockets:
            self._greeting_task = asyncio.create_task(self._print_greeting(sockets[0].getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the streams deliver their remaining finals, then stop."""
        await self._context.services.streams.drain(self._context.settings.server.drain_seconds)
        if self._greeting_task is not None:
            self._greeting_task.cancel()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal's signature
        """Stop gracefully at the first signal, at once at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def _print_greeting(self, port: int) -> None:
        await self._context.readiness.settled.wait()
        if self._context.settings.server.log_format == "json":  # every line has to be JSON
            log_event(log, logging.INFO, "server.started", **_build_started_event(self._context, port))
            return
        sys.stdout.write("\n".join(render_greeting(self._context, port)) + "\n")
        sys.stdout.flush()


async def _check_key_store(context: ServerContext) -> None:
    async with context.access.open_key_store():
        pass


def _open_listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.server.host else socket.AF_INET
    listener = socket.create_server((settings.server.host, settings.server.port), family=family, backlog=2048)
    # Closes connections whose peer acknowledges nothing for this long; accepted sockets inherit the option.
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


def render_greeting(context: ServerContext, port: int) -> Iterator[str]:
    """Yield the lines of the startup message.

    Args:
        context: The running server.
        port: The port that it listens on.
    """
    settings = context.settings
    address = _format_address(settings, port)
    if context.readiness.waits_for is not None:
        yield f"echoic cannot transcribe yet: {context.readiness.waits_for}"
    else:
        models = ", ".join(context.services.engines.loaded_models)
        yield f"echoic is ready ({models or 'no model loaded yet'})."
    for problem in context.readiness.unmet_settings:
        yield f"  {problem}"
    tls = "s" if settings.server.tls_cert_file else ""
    key = " --key KEY" if settings.auth.is_key_required else ""
    yield f"  page       http{tls}://{address}/"
    yield f"  WebSocket  ws{tls}://{address}{STREAM_PATH}"
    yield f"  try it     {_find_program_name()} stream FILE --url ws{tls}://{address}{key}"
    if not settings.auth.is_key_required and not is_loopback(settings.server.host):
        yield "  Everyone in the network may use this server: no API key is set."


def _find_program_name() -> str:
    """Return the command of this program: ``echoic`` if the shell finds it, else a path or ``-m echoic``."""
    if shutil.which("echoic"):
        return "echoic"
    return os.path.relpath(sys.argv[0]) if sys.argv[0].endswith("echoic") else f"{sys.executable} -m echoic"

"""Transports of conformance cases: the bare session, the app in memory, a server on a socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from conformance.client_api import CASE_FOLDER, CORE_PATH
from conformance.models import DecodeGate, build_case_registry
from echoic.diarization.scripted import ScriptedDiarizer
from echoic.engines.scripted import PlateauDetector
from echoic.errors import CLOSE_CODES, ModelUnavailable, ProtocolError
from echoic.interfaces.engine import OpenedModel
from echoic.protocol.constants import STREAM_PATH
from echoic.server.app import build_app
from echoic.server.process import EchoicServer
from echoic.server.settings.groups import Settings
from echoic.session.config import Capabilities
from echoic.session.effects import Decode, Send
from echoic.session.rendering import build_error
from echoic.session.session import Session
from support.memory_socket import MemorySocket
from support.session_driver import SessionDriver
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping
    from pathlib import Path

    from fastapi import FastAPI

    from conformance.client_api import ClientStream, ConformanceServer, Json, Message, Transport
    from echoic.engines.registry import Registry
    from echoic.interfaces.engine import Engine, ModelRequest
    from echoic.server.stream.admission import StreamAdmission


# ---- the bare session


class RegistrySessionDriver(SessionDriver):
    """A session driver whose models come from a registry."""

    def __init__(self, models: Registry, *, fallback: bool) -> None:
        self._models = models
        self._fallback = fallback
        self._engines: dict[str, Engine] = {}
        session = Session(PlateauDetector, capabilities=Capabilities(diarization=None))
        super().__init__(
            models.load_engine("scripted"),
            session,
            model_resolver=self._resolve_request,
            diarizer=ScriptedDiarizer(),
        )

    def finish_decode(self, key: int) -> None:
        """Finish one decode, by the model it is for."""
        effect = self._pending[key]
        if isinstance(effect, Decode):
            self.engine = self._engines[effect.model]
        super().finish_decode(key)

    def _resolve_request(self, request: ModelRequest) -> OpenedModel | ModelUnavailable:
        try:
            choice = self._models.resolve_model(request, fallback=self._fallback)
        except ModelUnavailable as error:
            return error
        engine = self._engines.setdefault(choice.model_id, self._models.load_engine(choice.model_id))
        return OpenedModel(choice.model_id, engine.requirements, choice.fallback_reason)


class SessionStream:
    """A client stream of a bare session."""

    def __init__(self, driver: SessionDriver) -> None:
        self._driver = driver

    async def send(self, message: Message) -> None:
        """Send a message and finish all decodes."""
        try:
            self._driver.send(message)
        except ProtocolError as error:
            frame = build_error(error)
            code = CLOSE_CODES[error.code]
            if code is None:
                self._driver.perform_effects([Send(frame)])
            else:
                self._driver.perform_effects(self._driver.session.end_stream(code, frame))
                self._driver.finish_all()

    async def receive(self) -> Json:
        """Return the next frame."""
        if self._driver.frames:
            return self._driver.frames.pop(0)
        assert self._driver.close_code is not None, "nothing came"
        return {"type": "close", "code": self._driver.close_code}


class BareSessionServer:
    """A bare session without a server."""

    def __init__(self) -> None:
        self.gate = DecodeGate()

    @asynccontextmanager
    async def open_stream(
        self, path: str = STREAM_PATH, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[ClientStream]:
        """Start a session; without authentication."""
        assert (headers, query) == (None, "")
        yield SessionStream(RegistrySessionDriver(build_case_registry(self.gate), fallback=path != CORE_PATH))

    async def fetch_http(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Unsupported."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Unsupported."""
        raise NotImplementedError

    async def wait_until_empty(self) -> None:
        """Unsupported."""
        raise NotImplementedError

    async def wait_until_preloaded(self) -> None:
        """Unsupported."""
        raise NotImplementedError


# ---- the application in memory


class InMemoryStream:
    """A client stream over an ASGI connection."""

    def __init__(self, memory: MemorySocket) -> None:
        self._socket = memory
        self._closed: Json | None = None

    async def send(self, message: Message) -> None:
        """Send."""
        if isinstance(message, str):
            self._socket.send_text(message)
        else:
            self._socket.send(message)

    async def receive(self) -> Json:
        """Return the next frame."""
        if self._closed is None:
            frame = await self._socket.receive_frame()
            self._closed = frame if frame["type"] == "close" else None
            return frame
        await self._socket.wait_until_ended()
        assert self._socket.unread_count == 0
        return self._closed


class InMemoryServer:
    """An application in this event loop."""

    def __init__(self, app: FastAPI, gate: DecodeGate) -> None:
        self._app = app
        self.gate = gate

    @asynccontextmanager
    async def open_stream(
        self, path: str = STREAM_PATH, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[ClientStream]:
        """Open a stream."""
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        async with MemorySocket(self._app, path, headers=lower, query=query) as memory:
            yield InMemoryStream(memory)

    async def fetch_http(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Send a request to the application."""
        return await _fetch_http(httpx.ASGITransport(self._app), "http://localhost" + path, headers)

    async def drain(self) -> None:
        """Drain."""
        await _get_streams(self._app).drain(WAIT_SECONDS)

    async def wait_until_empty(self) -> None:
        """Wait."""
        await _get_streams(self._app)._is_empty.wait()  # noqa: SLF001  # no other event says so

    async def wait_until_preloaded(self) -> None:
        """Wait."""
        await self._app.state.context.readiness.settled.wait()


# ---- a real socket


class RealSocketStream:
    """A client stream over a WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: Message) -> None:
        """Send a message; ignored after the close."""
        with suppress(ConnectionClosed):
            await self._connection.send(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> Json:
        """Return the next frame."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                frame: Json = json.loads(await self._connection.recv())
        except ConnectionClosed as error:
            return {"type": "close", "code": error.rcvd.code if error.rcvd else 1006}
        return frame


class _LoopServer(EchoicServer):
    """A server that exposes its loop and reports when it has started."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(app, settings)
        self.has_begun = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.loop.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.has_begun.set()


class RealSocketServer:
    """A server in a thread, on a free port of loopback."""

    def __init__(self, app: FastAPI, settings: Settings, gate: DecodeGate) -> None:
        self.gate = gate
        self._app = app
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self._server = _LoopServer(app, settings)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        assert self._server.has_begun.wait(WAIT_SECONDS)

    @asynccontextmanager
    async def open_stream(
        self, path: str = STREAM_PATH, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[ClientStream]:
        """Connect; leaving cuts the connection."""
        address = f"ws://{self.address}{path}" + (f"?{query}" if query else "")
        async with connect(
            address, additional_headers=headers, max_size=None, compression=None
        ) as connection:
            yield RealSocketStream(connection)
            connection.transport.abort()

    async def fetch_http(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Send an HTTP request."""
        return await _fetch_http(httpx.AsyncHTTPTransport(), f"http://{self.address}{path}", headers)

    async def drain(self) -> None:
        """Drain."""
        await self._run_in_loop(_get_streams(self._app).drain(WAIT_SECONDS))

    async def wait_until_empty(self) -> None:
        """Wait."""
        await self._run_in_loop(_get_streams(self._app)._is_empty.wait())  # noqa: SLF001  # no other event says so

    async def wait_until_preloaded(self) -> None:
        """Wait."""
        await self._run_in_loop(self._app.state.context.readiness.settled.wait())

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        self.gate.released.set()
        self._server.should_exit = True
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()

    async def _run_in_loop(self, work: Coroutine[object, object, object]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._server.loop)
        await asyncio.wait_for(asyncio.wrap_future(future), WAIT_SECONDS)


class ServerPool:
    """Servers by settings; servers on sockets are reused by later cases.

    Args:
        folder: Stands for ``FOLDER`` in settings.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle_servers: dict[str, RealSocketServer] = {}

    @asynccontextmanager
    async def open_server(
        self, transport: Transport, settings: Mapping[str, object], *, spends_server: bool
    ) -> AsyncIterator[ConformanceServer]:
        """Yield a server with these settings; stop it afterwards if the case makes it unusable."""
        if transport == "session":
            yield BareSessionServer()
            return
        if transport == "memory":
            app, _, gate = _build_app(settings, self._folder)
            async with app.router.lifespan_context(app):
                try:
                    yield InMemoryServer(app, gate)
                finally:
                    gate.released.set()
            return
        key = repr(sorted(settings.items()))
        server = self._idle_servers.pop(key, None) or RealSocketServer(*_build_app(settings, self._folder))
        try:
            yield server
        finally:
            if spends_server or server.gate.released.is_set():
                await asyncio.to_thread(server.stop)
            else:
                self._idle_servers[key] = server

    def close(self) -> None:
        """Stop all servers."""
        for server in self._idle_servers.values():
            server.stop()
        self._idle_servers.clear()


def _build_app(settings: Mapping[str, object], folder: Path) -> tuple[FastAPI, Settings, DecodeGate]:
    gate = DecodeGate()
    placed = {key: folder if value is CASE_FOLDER else value for key, value in settings.items()}
    always = {"scripted_engine": True, "preload_model": "", "speakers_diarizer": "scripted"}
    always["falling_behind_seconds"] = 600  # a busy machine is late
    given = Settings.model_validate({**always, **placed})
    return build_app(given, build_case_registry(gate)), given, gate


def _get_streams(app: FastAPI) -> StreamAdmission:
    streams: StreamAdmission = app.state.context.services.streams
    return streams


async def _fetch_http(
    transport: httpx.AsyncBaseTransport, address: str, headers: Mapping[str, str] | None
) -> tuple[int, Json, str]:
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.get(address, headers=headers)
    is_json = answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json() if is_json else {}, answer.text

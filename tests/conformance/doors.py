"""Three ways to a session: by hand, through the application in memory, through a real socket."""

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

from conformance.house import Gate, registry
from conformance.line import CORE, FOLDER, STREAM
from echoic.engines.scripted import PlateauVoice
from echoic.errors import CLOSE_CODES, ModelUnavailable, ProtocolError
from echoic.server.app import build_app
from echoic.server.run import EchoicServer
from echoic.server.settings import Settings
from echoic.session.config import Offers
from echoic.session.core import Session
from echoic.session.effects import Decode, ModelAnswer, Send
from echoic.session.render import error_frame
from echoic.speakers.scripted import ScriptedDiarizer
from support.memory_socket import MemorySocket
from support.patience import PATIENCE
from support.play import Play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping
    from pathlib import Path

    from fastapi import FastAPI

    from conformance.line import Door, Json, Line, Message, Way
    from echoic.engines.base import Engine
    from echoic.engines.registry import Registry
    from echoic.server.streams import Streams
    from echoic.session.effects import ModelRequest


# ---- the bare session


class HousePlay(Play):
    """A played session whose models come from a registry."""

    def __init__(self, models: Registry, *, fallback: bool) -> None:
        self._models = models
        self._fallback = fallback
        self._engines: dict[str, Engine] = {}
        session = Session(PlateauVoice, offers=Offers(diarization=None))
        super().__init__(models.load("scripted"), session, model=self._find, diarizer=ScriptedDiarizer())

    def finish(self, key: int) -> None:
        """Finish one decode, by the model it is for."""
        effect = self._open[key]
        if isinstance(effect, Decode):
            self.engine = self._engines[effect.model]
        super().finish(key)

    def _find(self, request: ModelRequest) -> ModelAnswer | ModelUnavailable:
        try:
            choice = self._models.resolve(request, fallback=self._fallback)
        except ModelUnavailable as error:
            return error
        engine = self._engines.setdefault(choice.name, self._models.load(choice.name))
        return ModelAnswer(choice.name, engine.needs, choice.fallback)


class SessionLine:
    """A played session as a line."""

    def __init__(self, play: Play) -> None:
        self._play = play

    async def send(self, message: Message) -> None:
        """Send, and finish every decode."""
        try:
            self._play.send(message)
        except ProtocolError as error:
            frame = error_frame(error)
            code = CLOSE_CODES[error.code]
            if code is None:
                self._play.do([Send(frame)])
            else:
                self._play.do(self._play.session.end(code, frame))
                self._play.settle()

    async def receive(self) -> Json:
        """Return what came."""
        if self._play.frames:
            return self._play.frames.pop(0)
        assert self._play.closed is not None, "nothing came"
        return {"type": "close", "code": self._play.closed}


class SessionDoor:
    """No server at all."""

    def __init__(self) -> None:
        self.gate = Gate()

    @asynccontextmanager
    async def open(
        self, path: str = STREAM, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[Line]:
        """Begin a session; nobody asks for a key."""
        assert (headers, query) == (None, "")
        yield SessionLine(HousePlay(registry(self.gate), fallback=path != CORE))

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Not to be had."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Not to be had."""
        raise NotImplementedError

    async def emptied(self) -> None:
        """Not to be had."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Not to be had."""
        raise NotImplementedError


# ---- the application in memory


class MemoryLine:
    """An ASGI connection as a line."""

    def __init__(self, memory: MemorySocket) -> None:
        self._memory = memory
        self._closed: Json | None = None

    async def send(self, message: Message) -> None:
        """Send."""
        if isinstance(message, str):
            self._memory.send_text(message)
        else:
            self._memory.send(message)

    async def receive(self) -> Json:
        """Return the next frame."""
        if self._closed is None:
            frame = await self._memory.next()
            self._closed = frame if frame["type"] == "close" else None
            return frame
        await self._memory.ended()
        assert self._memory.unread == 0
        return self._closed


class MemoryDoor:
    """An application in this event loop."""

    def __init__(self, app: FastAPI, gate: Gate) -> None:
        self._app = app
        self.gate = gate

    @asynccontextmanager
    async def open(
        self, path: str = STREAM, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[Line]:
        """Open a stream."""
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        async with MemorySocket(self._app, path, headers=lower, query=query) as memory:
            yield MemoryLine(memory)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Ask the application."""
        return await _get(httpx.ASGITransport(self._app), "http://localhost" + path, headers)

    async def drain(self) -> None:
        """Drain."""
        await _streams(self._app).drain(PATIENCE)

    async def emptied(self) -> None:
        """Wait."""
        await _streams(self._app)._empty.wait()  # noqa: SLF001  # no other event says so

    async def settled(self) -> None:
        """Wait."""
        await self._app.state.house.ready.settled.wait()


# ---- a real socket


class SocketLine:
    """A WebSocket as a line."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, message: Message) -> None:
        """Send; what comes after the close is lost."""
        with suppress(ConnectionClosed):
            await self._connection.send(json.dumps(message) if isinstance(message, dict) else message)

    async def receive(self) -> Json:
        """Return the next frame."""
        try:
            async with asyncio.timeout(PATIENCE):
                frame: Json = json.loads(await self._connection.recv())
        except ConnectionClosed as error:
            return {"type": "close", "code": error.rcvd.code if error.rcvd else 1006}
        return frame


class _Server(EchoicServer):
    """A server that knows its loop and says when it has begun."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(app, settings)
        self.begun = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.loop.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.begun.set()


class SocketDoor:
    """A server in a thread, on a free port of loopback."""

    def __init__(self, app: FastAPI, settings: Settings, gate: Gate) -> None:
        self.gate = gate
        self._app = app
        listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{listener.getsockname()[1]}"
        self._server = _Server(app, settings)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        assert self._server.begun.wait(PATIENCE)

    @asynccontextmanager
    async def open(
        self, path: str = STREAM, *, headers: Mapping[str, str] | None = None, query: str = ""
    ) -> AsyncIterator[Line]:
        """Connect; leaving cuts the connection."""
        address = f"ws://{self.place}{path}" + (f"?{query}" if query else "")
        async with connect(
            address, additional_headers=headers, max_size=None, compression=None
        ) as connection:
            yield SocketLine(connection)
            connection.transport.abort()

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Json, str]:
        """Ask by HTTP."""
        return await _get(httpx.AsyncHTTPTransport(), f"http://{self.place}{path}", headers)

    async def drain(self) -> None:
        """Drain."""
        await self._there(_streams(self._app).drain(PATIENCE))

    async def emptied(self) -> None:
        """Wait."""
        await self._there(_streams(self._app)._empty.wait())  # noqa: SLF001  # no other event says so

    async def settled(self) -> None:
        """Wait."""
        await self._there(self._app.state.house.ready.settled.wait())

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        self.gate.open.set()
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    async def _there(self, work: Coroutine[object, object, object]) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._server.loop)
        await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)


class Doors:
    """Servers by their settings; those on sockets are kept for the next case.

    Args:
        folder: Stands for ``FOLDER`` in settings.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, SocketDoor] = {}

    @asynccontextmanager
    async def door(self, way: Way, settings: Mapping[str, object], *, spends: bool) -> AsyncIterator[Door]:
        """Yield a server with these settings; one that the case spends is stopped afterwards."""
        if way == "session":
            yield SessionDoor()
            return
        if way == "memory":
            app, _, gate = _build(settings, self._folder)
            async with app.router.lifespan_context(app):
                try:
                    yield MemoryDoor(app, gate)
                finally:
                    gate.open.set()
            return
        key = repr(sorted(settings.items()))
        door = self._kept.pop(key, None) or SocketDoor(*_build(settings, self._folder))
        try:
            yield door
        finally:
            if spends or door.gate.open.is_set():
                await asyncio.to_thread(door.stop)
            else:
                self._kept[key] = door

    def close(self) -> None:
        """Stop all servers."""
        for door in self._kept.values():
            door.stop()
        self._kept.clear()


def _build(settings: Mapping[str, object], folder: Path) -> tuple[FastAPI, Settings, Gate]:
    gate = Gate()
    placed = {key: folder if value is FOLDER else value for key, value in settings.items()}
    always = {"scripted_engine": True, "preload_model": "", "speakers_diarizer": "scripted"}
    always["falling_behind_seconds"] = 600  # a busy machine is late
    given = Settings.model_validate({**always, **placed})
    return build_app(given, registry(gate)), given, gate


def _streams(app: FastAPI) -> Streams:
    streams: Streams = app.state.house.service.streams
    return streams


async def _get(
    transport: httpx.AsyncBaseTransport, address: str, headers: Mapping[str, str] | None
) -> tuple[int, Json, str]:
    async with httpx.AsyncClient(transport=transport) as client:
        answer = await client.get(address, headers=headers)
    is_json = answer.headers["content-type"].startswith("application/json")
    return answer.status_code, answer.json() if is_json else {}, answer.text

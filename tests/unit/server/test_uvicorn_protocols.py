from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from echoic.server.uvicorn_protocols import BoundedWebSocketProtocol, TimedHttpProtocol
from support.in_memory_app import build_blocking_registry
from support.raw_websocket import BINARY, PING, PONG, TEXT, RawWebSocket, build_close, build_frame
from support.scripted_engines import BlockingHook
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Message

    from support.in_memory_app import StartApp

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


HastyHttpProtocol = TimedHttpProtocol.with_timeout(0.25)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[tuple[str, int]]:
    """Serve a running application; yield its host and port."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        http=HastyHttpProtocol,
        ws=BoundedWebSocketProtocol,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        yield "127.0.0.1", listener.getsockname()[1]
        await server.shutdown([listener])


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WAIT_SECONDS):
        return await reader.read()


async def test_a_slow_request_is_closed(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        for sent in (b"", b"GET / HTTP/1.1\r\nX-Slow:", HEALTH[:-2]):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(sent)
            assert await read_all(reader) == b""
            writer.close()


async def test_a_slow_second_request_is_closed(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        reader, writer = await asyncio.open_connection(*place)
        for _ in range(3):
            writer.write(HEALTH)
            assert b"200 OK" in await reader.readuntil(b"}")
        writer.write(HEALTH[:-2])
        assert await read_all(reader) == b""
        writer.close()


async def test_a_slow_unwanted_body_is_closed(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert b"405" in await reader.readuntil(b"}")
        writer.write(b"x")
        assert await read_all(reader) == b""
        writer.close()


async def test_a_websocket_has_no_request_timeout(start_app: StartApp) -> None:
    async with (
        serving(await start_app()) as (host, port),
        connect(f"ws://{host}:{port}{STREAM_PATH}") as client,
    ):
        await asyncio.sleep(2 * HastyHttpProtocol.request_timeout)
        await client.send('{"type":"ping"}')
        assert await client.recv() == '{"type":"pong"}'


AUDIO = draw_words([("alpha", 1.9), ("one", 0.6)] + [("two", 0.6)] * 4).tobytes()


@asynccontextmanager
async def serve_with_pings(app: FastAPI, ping_timeout: float = 0.1) -> AsyncIterator[str]:
    """Serve a running application with frequent pings; yield its address."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        ws=BoundedWebSocketProtocol,
        ws_ping_interval=0.05,
        ws_ping_timeout=ping_timeout,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        await server.shutdown([listener])


def read_pings(client: RawWebSocket, count: int) -> None:
    """Read this many pings without answering them."""
    while count:
        frame = client.read_frame()
        assert frame is not None
        count -= frame.opcode == PING


def answer_pings_until(client: RawWebSocket, kind: str) -> dict[str, Any]:
    """Answer pings until a message of a type arrives; return the message."""
    while (frame := client.read_frame()) is not None:
        if frame.opcode == PING:
            client.send(build_frame(PONG, frame.payload))
        elif frame.opcode == TEXT and frame.json["type"] == kind:
            return frame.json
    raise AssertionError(f"disconnected before any {kind!r}")


async def test_a_silent_client_without_pongs_is_disconnected(start_app: StartApp) -> None:
    app = await start_app(resume_seconds=0)
    async with serve_with_pings(app) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)
        await asyncio.to_thread(read_pings, client, 1)
        async with asyncio.timeout(WAIT_SECONDS):
            await app.state.context.services.streams.wait_until_empty()
        client.reset_connection()


async def test_a_client_that_answers_pings_stays_connected(start_app: StartApp) -> None:
    app = await start_app()
    async with serve_with_pings(app, ping_timeout=0.5) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def answer() -> None:
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                while (frame := client.read_frame()) is not None and frame.opcode != PING:
                    pass
                assert frame is not None
                client.send(build_frame(PONG, frame.payload))
            client.send_message(type="ping")
            answer_pings_until(client, "pong")

        await asyncio.to_thread(answer)
        client.reset_connection()


async def test_a_client_that_is_not_read_stays_connected(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=3)
    async with serve_with_pings(app, ping_timeout=0.5) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def talk() -> None:
            client.send_message(type="config", model="scripted", enable_partial=False)
            client.read_until("status")
            client.send(*(build_frame(BINARY, AUDIO) for _ in range(6)))
            read_pings(client, 2)
            hook.opened.set()
            client.send_message(type="commit")
            assert answer_pings_until(client, "full_transcript")["text"].count("alpha") == 6

        await asyncio.to_thread(talk)
        client.reset_connection()


async def test_a_ping_behind_queued_audio_is_answered(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=3)
    async with serve_with_pings(app, ping_timeout=60) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def talk() -> None:
            client.send_message(type="config", model="scripted", enable_partial=False)
            client.read_until("status")
            client.send(build_frame(BINARY, AUDIO))
            client.send(
                *(build_frame(BINARY, AUDIO[:16_000]) for _ in range(20)), build_frame(PING, b"there?")
            )
            while (frame := client.read_frame()) is not None and frame.opcode != PONG:
                pass
            assert frame is not None
            assert frame.payload == b"there?"

        await asyncio.to_thread(talk)
        assert app.state.context.services.total_backlog.seconds < 6  # the rest is not read yet
        hook.opened.set()
        client.reset_connection()


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MANY = 5_000
FLOOD = b"".join(build_frame(TEXT, str(number).encode()) for number in range(MANY))
ALL = [str(number) for number in range(MANY)]


class SinkTransport(asyncio.Transport):
    """A transport that discards what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = True
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, data

    def pause_reading(self) -> None:
        assert self.is_read
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.is_read
        self.is_read = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class RecordingApp:
    """An ASGI application that records the messages it receives."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.is_over = asyncio.Event()

    async def __call__(self, _scope: object, receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI has it
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                self.is_over.set()
                return
            self.messages.append(message["text"])


async def connect_in_memory() -> tuple[BoundedWebSocketProtocol, SinkTransport, RecordingApp]:
    app, transport = RecordingApp(), SinkTransport()
    config = uvicorn.Config(app, log_config=None, ws_ping_interval=None)
    config.load()
    state = ServerState()
    state.connections = set()
    protocol = BoundedWebSocketProtocol(config=config, server_state=state, app_state={})
    protocol.connection_made(transport)
    protocol.data_received(HANDSHAKE)
    for _ in range(5):
        await asyncio.sleep(0)
    assert protocol.handshake_complete
    return protocol, transport, app


async def test_a_flood_is_parsed_in_turns_without_loss() -> None:
    protocol, transport, app = await connect_in_memory()
    protocol.data_received(FLOOD)
    assert protocol.queue.qsize() < MANY
    assert not transport.is_read  # nothing more is read meanwhile
    turns = 0
    while len(app.messages) < MANY:
        assert turns < MANY
        await asyncio.sleep(0)
        turns += 1
    assert turns > 2
    assert app.messages == ALL
    await asyncio.sleep(0)
    assert transport.is_read


async def test_bytes_before_a_lost_connection_are_parsed() -> None:
    protocol, _, app = await connect_in_memory()
    protocol.data_received(FLOOD)
    protocol.connection_lost(ConnectionResetError())
    async with asyncio.timeout(60):
        await app.is_over.wait()
    assert app.messages == ALL


async def test_a_close_behind_a_flood_is_delivered_last() -> None:
    protocol, transport, app = await connect_in_memory()
    protocol.data_received(FLOOD + build_close(1000))
    async with asyncio.timeout(60):
        await app.is_over.wait()
    assert app.messages == ALL
    assert transport.closed
    protocol.data_received(FLOOD)
    assert not protocol.queue.qsize()

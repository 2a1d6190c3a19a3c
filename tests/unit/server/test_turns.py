"""One client's messages, however many come at once, keep no other client waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn import Config
from uvicorn.server import ServerState

from echoic.server.uvicorn_protocols import BoundedWebSocketProtocol
from support.raw_websocket import TEXT, build_close, build_frame

if TYPE_CHECKING:
    from collections.abc import MutableMapping

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MANY = 5_000
FLOOD = b"".join(build_frame(TEXT, str(number).encode()) for number in range(MANY))
ALL = [str(number) for number in range(MANY)]


class Line(asyncio.Transport):
    """A connection that nothing is on the other end of."""

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


class Listener:
    """An application that notes what it receives."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.over = asyncio.Event()

    async def __call__(self, _scope: object, receive: Any, send: Any) -> None:  # noqa: ANN401  # as ASGI has it
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message: MutableMapping[str, Any] = await receive()
            if message["type"] == "websocket.disconnect":
                self.over.set()
                return
            self.heard.append(message["text"])


async def connected() -> tuple[BoundedWebSocketProtocol, Line, Listener]:
    listener, line = Listener(), Line()
    config = Config(listener, log_config=None, ws_ping_interval=None)
    config.load()
    state = ServerState()
    state.connections = set()
    socket = BoundedWebSocketProtocol(config=config, server_state=state, app_state={})
    socket.connection_made(line)
    socket.data_received(HANDSHAKE)
    for _ in range(5):
        await asyncio.sleep(0)
    assert socket.handshake_complete
    return socket, line, listener


async def test_others_have_their_turn_before_a_flood_is_taken_and_none_of_it_is_lost() -> None:
    socket, line, listener = await connected()
    socket.data_received(FLOOD)
    assert socket.queue.qsize() < MANY
    assert not line.is_read  # nothing more is read meanwhile
    turns = 0
    while len(listener.heard) < MANY:
        assert turns < MANY
        await asyncio.sleep(0)
        turns += 1
    assert turns > 2
    assert listener.heard == ALL
    await asyncio.sleep(0)
    assert line.is_read


async def test_what_a_connection_brought_before_it_was_cut_is_taken() -> None:
    socket, _, listener = await connected()
    socket.data_received(FLOOD)
    socket.connection_lost(ConnectionResetError())
    async with asyncio.timeout(60):
        await listener.over.wait()
    assert listener.heard == ALL


async def test_a_close_behind_a_flood_comes_last() -> None:
    socket, line, listener = await connected()
    socket.data_received(FLOOD + build_close(1000))
    async with asyncio.timeout(60):
        await listener.over.wait()
    assert listener.heard == ALL
    assert line.closed
    socket.data_received(FLOOD)
    assert not socket.queue.qsize()

"""A scripted WebSocket server, for behaviour that a real one shows only in faults."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import websockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from http import HTTPStatus

    PeerScript = Callable[["FakePeer"], Awaitable[None]]

CONFIGURED_FRAME: dict[str, Any] = {
    "type": "status",
    "state": "configured",
    "model": "parakeet",
    "model_variant": "standard",
    "active_model": "moonshine-tiny-en",
    "sample_rate": 16_000,
    "channels": 1,
    "audio_format": "f32le",
    "chunk_duration": 2.0,
    "overlap_duration": 0.5,
    "language": None,
    "enable_partial": True,
    "partial_interval": 0.5,
    "min_partial_duration": 0.5,
    "word_timestamps": False,
    "diarization": False,
    "insights": False,
    "ignored": [],
}


def build_final_json(number: int, text: str) -> dict[str, Any]:
    """The JSON of a final of one second."""
    return {
        "type": "final",
        "text": text,
        "is_final": True,
        "segment_id": number,
        "segment_start": number - 1.0,
        "segment_end": float(number),
        "chunk_duration": 1.0,
        "overlap": 0.0,
        "chunk_start": number - 1.0,
        "chunk_end": float(number),
        "new_audio_duration": 1.0,
        "cumulative_audio": float(number),
    }


class FakePeer:
    """The server's end of one connection."""

    def __init__(self, socket: websockets.ServerConnection) -> None:
        self.socket = socket
        self.headers = dict(socket.request.headers.raw_items()) if socket.request else {}
        self.config: dict[str, Any] = {}

    async def send(self, frame: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(frame))

    async def receive_message(self) -> bytes | dict[str, Any]:
        """The next message: samples, or a frame."""
        message = await self.socket.recv()
        return message if isinstance(message, bytes) else dict(json.loads(message))

    async def accept_config(self) -> None:
        """Take the config that opens every stream."""
        frame = await self.receive_message()
        assert isinstance(frame, dict)
        self.config = frame
        await self.send(CONFIGURED_FRAME)

    async def receive_samples_until(self, kind: str) -> bytes:
        """Take samples until a frame of this type comes; return them."""
        audio = b""
        while isinstance(message := await self.receive_message(), bytes):
            audio += message
        assert message["type"] == kind
        return audio


@asynccontextmanager
async def run_fake_server(script: PeerScript) -> AsyncIterator[str]:
    """Serve ``script`` on a free loopback port, configured first; yield the URL."""

    async def handle(socket: websockets.ServerConnection) -> None:
        peer = FakePeer(socket)
        await peer.accept_config()
        await script(peer)

    async with serve_connections(handle) as url:
        yield url


@asynccontextmanager
async def serve_connections(
    handle: Callable[[websockets.ServerConnection], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve bare connections on a free loopback port; yield the URL."""
    async with websockets.serve(handle, "127.0.0.1", 0, compression=None, max_size=2**24) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/api/v1/audio/stream/transcribe"


@asynccontextmanager
async def refuse_handshakes(status: HTTPStatus) -> AsyncIterator[str]:
    """Answer every handshake on a free loopback port with ``status``; yield the URL."""

    def answer(connection: websockets.ServerConnection, _: websockets.Request) -> websockets.Response:
        return connection.respond(status, "No.")

    async def never(_: websockets.ServerConnection) -> None:
        raise AssertionError

    async with websockets.serve(never, "127.0.0.1", 0, process_request=answer) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/api/v1/audio/stream/transcribe"

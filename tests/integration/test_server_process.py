"""A real server process: real clients, signals, the startup message and the shutdown."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import urllib.request
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from echoic.protocol.constants import STREAM_PATH
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

CONFIG = '{"type":"config","model":"scripted"}'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A process shared by the tests that do not change it."""
    with ServerProcess() as process:
        yield process.address
        process.process.send_signal(signal.SIGTERM)
        code, _ = process.wait_for_exit()
        assert code == 0


async def read_frames(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Return the frames until the close, and its code."""
    frames = []
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                frames.append(json.loads(await socket.recv()))
    except websockets.ConnectionClosed:
        return frames, socket.close_code


async def test_a_real_client_is_transcribed(server: str) -> None:
    async with connect(f"ws://{server}{STREAM_PATH}?token=YOUR_API_KEY", max_size=2**23) as client:
        await client.send(CONFIG)
        await client.send(draw_words(["one", "two", "three"]).tobytes())
        await client.send('{"type":"stop"}')
        frames, code = await read_frames(client)
    assert (frames[-1], code) == ({"type": "full_transcript", "text": "one two three"}, 1000)


@pytest.mark.parametrize("more", [1, 2**20])
async def test_a_too_long_message_is_refused_before_the_close(server: str, more: int) -> None:
    async with connect(f"ws://{server}{STREAM_PATH}") as client:
        await client.send(bytes(MAX_MESSAGE_BYTES + more))
        frames, code = await read_frames(client)
    assert ([frame["code"] for frame in frames], code) == (["frame_too_large"], 1009)


async def test_a_far_too_long_message_is_not_read(server: str) -> None:
    async with connect(f"ws://{server}{STREAM_PATH}") as client:
        with suppress(websockets.ConnectionClosed):
            await client.send(bytes(4 * MAX_MESSAGE_BYTES))
        assert await read_frames(client) == ([], 1009)


async def test_an_unknown_path_refuses_websockets(server: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with connect(f"ws://{server}/api/v1/audio/stream"):
            pass
    assert caught.value.response.status_code == 403


def test_the_page_is_served(server: str) -> None:
    with urllib.request.urlopen(f"http://{server}/") as answer:  # our own server
        assert b"echoic" in answer.read()


async def test_broken_connections_leave_no_stream_behind(server: str) -> None:
    host, _, port = server.partition(":")
    audio = draw_words(["one", "two"]).tobytes()
    for number in range(100):
        client = await connect(f"ws://{server}{STREAM_PATH}", ping_interval=None)
        for _ in range(number % 4):
            await client.send(CONFIG)
            await client.send(audio)
        client.transport.abort()  # a reset, not a close
        await client.wait_closed()
        raw = socket.create_connection((host, int(port)))
        raw.send(b"GET / HTTP/1.1\r\n")
        raw.close()
    async with asyncio.timeout(WAIT_SECONDS):
        while not await asyncio.to_thread(is_idle, server):
            pass


def is_idle(server: str) -> bool:
    with urllib.request.urlopen(f"http://{server}/metrics") as answer:  # our own server
        return b"\nechoic_streams_active 0.0\n" in answer.read()


async def test_a_shutdown_lets_streams_deliver_their_finals() -> None:
    with ServerProcess(max_backlog_seconds="60") as server:
        address = server.address
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connect(f"ws://{address}{STREAM_PATH}")) for _ in range(8)
            ]
            for client in clients:
                await client.send(CONFIG)
                await client.send(draw_words(["one", "two"] * 10).tobytes())
                await client.send('{"type":"ping"}')
                while json.loads(await client.recv())["type"] != "pong":
                    pass
            server.process.send_signal(signal.SIGTERM)
            for frames, code in await asyncio.gather(*map(read_frames, clients)):
                assert frames[-1] == {"type": "full_transcript", "text": " ".join(["one two"] * 10)}
                assert code == 1001
        code, log = server.wait_for_exit()
        assert code == 0
        assert "one two" not in log
        assert "token" not in log


async def test_new_streams_are_refused_during_a_shutdown() -> None:
    with ServerProcess(drain_seconds="60") as server:
        address = server.address
        async with AsyncExitStack() as stack:
            slow = await stack.enter_async_context(connect(f"ws://{address}{STREAM_PATH}", max_queue=1))
            last = await stack.enter_async_context(connect(f"ws://{address}{STREAM_PATH}"))
            await send_until_blocked(slow)  # its queued frames delay the end of the server
            server.process.send_signal(signal.SIGTERM)
            assert (await read_frames(last)) == ([], 1001)
            late = await stack.enter_async_context(connect(f"ws://{address}{STREAM_PATH}"))
            frames, code = await read_frames(late)
            assert ([frame["code"] for frame in frames], code) == (["draining"], 1013)
            slow.transport.abort()
            assert (await asyncio.to_thread(server.wait_for_exit))[0] == 0


async def send_until_blocked(client: ClientConnection) -> None:
    """Request long answers without reading them, until the server stops reading."""
    config = json.dumps({"type": "config", "model": "scripted", "x" * 900_000: 1})
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(5.0):  # a busy machine pauses too
                await client.send(config)


async def test_a_second_signal_ends_the_process_at_once() -> None:
    with ServerProcess(idle_timeout_seconds="60", drain_seconds="60") as server:
        async with connect(f"ws://{server.address}{STREAM_PATH}") as client:
            await client.send(CONFIG)
            await client.recv()
            server.process.send_signal(signal.SIGSTOP)  # both signals are pending when it continues
            server.process.send_signal(signal.SIGTERM)
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGCONT)
            assert server.wait_for_exit()[0] in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_the_greeting_shows_where_the_server_listens() -> None:
    with ServerProcess() as server:
        address = server.address
        assert server.stdout_lines[0].startswith("echoic is ready")
        assert server.stdout_lines[1].endswith(f"http://{address}/")
        assert server.stdout_lines[2].endswith(f"ws://{address}{STREAM_PATH}")
        server.process.send_signal(signal.SIGINT)
        assert server.process.stdout is not None
        assert f"echoic stream FILE --url ws://{address}" in server.process.stdout.read()
        assert server.wait_for_exit()[0] == 0


def test_an_unusable_key_store_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with ServerProcess(keys_db=str(tmp_path / "file" / "keys.db")) as server:
        code, log = server.wait_for_exit()
    assert code == 1
    assert "event=keys.unavailable" in log
    assert "Traceback" not in log

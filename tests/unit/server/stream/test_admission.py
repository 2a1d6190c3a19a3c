"""A server that has much to do: whom it lets in, whom it reads, and what it tells."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from support.memory_socket import MemorySocket
from support.patience import WAIT_SECONDS
from unit.server.stream.test_connection import CONFIG, Doors, house_of, metric, quiet

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.app_fixtures import StartApp

SECOND = draw_words([("one", 0.9), ("", 0.1)]).tobytes()
HELD = draw_words([("alpha", 1.9), ("one", 0.6), ("two", 0.6), ("three", 0.6), ("four", 0.6)]).tobytes()
LIMITS = "/api/v1/audio/stream/limits"


async def ask(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get(path)


async def hold(socket: MemorySocket, doors: Doors, **config: object) -> None:
    """Let a stream wait for a decode, with two windows and a half behind it."""
    socket.send(CONFIG | config)
    await socket.receive_until("status")
    socket.send(HELD)
    await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
    await quiet(socket)


async def test_a_server_that_is_full_says_when_to_come_again(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1, retry_after_seconds=7)
    async with MemorySocket(app), MemorySocket(app) as second:
        error = await second.receive_frame()
        assert (error["code"], error["limit"], error["retry_after"]) == ("server_busy", 1, 7.0)
        assert await second.receive_frame() == {"type": "close", "code": 1013}
        assert (await ask(app, LIMITS)).json()["can_start_stream"] is False
        ready = await ask(app, "/readyz")
        assert (ready.status_code, ready.json()["full"]) == (200, True)
        assert metric(app, "echoic_full") == 1


async def test_while_too_much_waits_in_all_nobody_else_is_let_in(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), max_total_backlog_seconds=3.0)
    async with MemorySocket(app) as first:
        await hold(first, doors)
        async with MemorySocket(app) as second:
            error = await second.receive_frame()
            assert (error["code"], error["retry_after"]) == ("server_busy", 5.0)
            assert "limit" not in error
            assert await second.receive_frame() == {"type": "close", "code": 1013}
        doors.open.set()
        first.send({"type": "commit"})
        assert (await first.receive_until("full_transcript"))[-1]["text"] == "alpha one two three four"
        async with MemorySocket(app) as third:
            third.send({"type": "ping"})
            assert await third.receive_frame() == {"type": "pong"}


async def test_while_too_much_waits_in_all_those_with_little_are_read_on(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), max_total_backlog_seconds=3.0)
    async with MemorySocket(app) as modest, MemorySocket(app) as greedy:
        modest.send(CONFIG)
        await modest.receive_until("status")
        await hold(greedy, doors)
        greedy.send({"type": "ping"})
        await quiet(greedy)
        assert greedy.undelivered_count == 1
        modest.send(SECOND)
        modest.send({"type": "ping"})
        assert (await modest.receive_until("pong"))[-1] == {"type": "pong"}
        doors.open.set()
        await greedy.receive_until("pong")


async def test_below_the_high_mark_a_stream_is_read_only_when_it_was_below_the_low_one(
    start_app: StartApp,
) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), max_backlog_seconds=4.9, low_backlog_seconds=0.5)
    async with MemorySocket(app) as socket:
        await hold(socket, doors, enable_partial=False)  # 3.5 s are due
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        socket.send(SECOND)
        await quiet(socket)
        socket.send({"type": "ping"})
        await quiet(socket)
        assert socket.undelivered_count == 1
        doors.open.set()
        frames = await socket.receive_until("pong")
        assert [frame["type"] for frame in frames] == ["final", "final", "pong"]


async def test_a_stream_that_falls_behind_is_told_once_and_loses_nothing(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), falling_behind_seconds=0.5)
    async with MemorySocket(app) as socket:
        await hold(socket, doors, enable_partial=False)
        warning = await socket.receive_frame()
        assert (warning["type"], warning["code"]) == ("warning", "falling_behind")
        assert warning["lag"] > 0.5
        assert warning["message"]
        assert metric(app, "echoic_streams_behind") == 1
        socket.send(SECOND)
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        doors.open.set()
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert {frame["type"] for frame in frames} == {"final", "full_transcript"}
        assert frames[-1]["text"] == "alpha one two three four one"
        async with asyncio.timeout(WAIT_SECONDS):
            while metric(app, "echoic_streams_behind"):
                socket.send({"type": "ping"})
                await socket.receive_frame()
    assert metric(app, "echoic_warnings_total", code="falling_behind") == 1


async def test_a_file_that_is_decoded_faster_than_it_plays_is_not_late(start_app: StartApp) -> None:
    app = await start_app(falling_behind_seconds=0.5)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        for _ in range(20):
            socket.send(SECOND)
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert not [frame for frame in frames if frame["type"] == "warning"]


async def test_a_stream_that_lasts_too_long_gets_what_was_heard_and_is_told(start_app: StartApp) -> None:
    app = await start_app(max_stream_seconds=1.0)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        socket.send(draw_words(["one", "two"]).tobytes())
        frames = await socket.receive_until("error")
        assert [frame["type"] for frame in frames] == ["status", "final", "full_transcript", "error"]
        assert (frames[-1]["code"], frames[-1]["limit"]) == ("time_limit", 1.0)
        assert await socket.receive_frame() == {"type": "close", "code": 1001}


async def test_more_messages_than_a_client_may_send_wait_and_all_are_answered(start_app: StartApp) -> None:
    app = await start_app(max_messages_per_second=100)
    async with MemorySocket(app) as flood, MemorySocket(app) as other:
        for _ in range(450):
            flood.send({"type": "ping"})
        await quiet(flood)
        assert 0 < flood.undelivered_count <= 250
        other.send({"type": "ping"})
        assert await other.receive_frame() == {"type": "pong"}
        assert flood.undelivered_count
        for _ in range(450):
            assert await flood.receive_frame() == {"type": "pong"}


async def test_more_audio_than_a_client_may_send_waits_and_nothing_is_lost(start_app: StartApp) -> None:
    app = await start_app(max_audio_rate=10, max_backlog_seconds=10)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        for _ in range(30):
            socket.send(SECOND)
        await quiet(socket)
        assert 0 < socket.undelivered_count < 25
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == " ".join(["one"] * 30)


async def test_audio_that_comes_while_its_model_loads_is_counted_as_the_config_before_it_says(
    start_app: StartApp,
) -> None:
    may_load = threading.Event()

    def load() -> ScriptedEngine:
        may_load.wait(WAIT_SECONDS)
        return ScriptedEngine()

    registry = Registry((ModelSpec("scripted", "scripted", "standard", lambda: None, load),), "scripted")
    app = await start_app(registry, preload_model="", max_audio_rate=8, max_backlog_seconds=10)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False, "audio_format": "s16le"})
        for _ in range(30):
            socket.send((np.frombuffer(SECOND, np.float32) * 32_767).astype("<i2").tobytes())
        await quiet(socket)
        assert 11 < socket.undelivered_count < 25  # 10 would be of samples twice as long
        may_load.set()
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == " ".join(["one"] * 30)


@pytest.mark.parametrize("message", ["x" * (MAX_MESSAGE_BYTES + 1), bytes(MAX_MESSAGE_BYTES + 1)])
async def test_an_over_long_message_in_place_of_the_key_opens_nothing(
    start_app: StartApp, message: str | bytes
) -> None:
    app = await start_app(api_key="correct horse")
    async with MemorySocket(app) as socket:
        if isinstance(message, str):
            socket.send_text(message)
        else:
            socket.send(message)
        assert (await socket.receive_frame())["code"] == "unauthorized"
        assert await socket.receive_frame() == {"type": "close", "code": 4401}
        await socket.wait_until_ended()
    assert len(house_of(app).services.streams) == 0


async def test_clients_that_want_in_while_it_is_full_cost_those_that_are_in_nothing(app: FastAPI) -> None:
    house_of(app).services.streams.max_streams = 1
    async with MemorySocket(app) as first, AsyncExitStack() as crowd:
        for _ in range(50):
            one = await crowd.enter_async_context(MemorySocket(app))
            assert (await one.receive_frame())["code"] == "server_busy"
        first.send({"type": "ping"})
        assert await first.receive_frame() == {"type": "pong"}

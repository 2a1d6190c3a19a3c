"""Admission control: limits, total backlog, draining."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx

from echoic.engines.scripted import draw_words
from support.in_memory_app import (
    CONFIG,
    build_blocking_registry,
    get_services,
    read_metric,
    wait_until_blocked,
    wait_until_unread,
)
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.in_memory_app import StartApp


LIMITS = "/api/v1/audio/stream/limits"


SECOND = draw_words([("one", 0.9), ("", 0.1)]).tobytes()


HELD = draw_words([("alpha", 1.9), ("one", 0.6), ("two", 0.6), ("three", 0.6), ("four", 0.6)]).tobytes()


async def get_response(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get(path)


async def block_stream(socket: MemorySocket, hook: BlockingHook, **config: object) -> None:
    """Let a stream wait for a decode, with two windows and a half behind it."""
    socket.send(CONFIG | config)
    await socket.receive_until("status")
    socket.send(HELD)
    await wait_until_blocked(hook)
    await wait_until_unread(socket)


async def test_a_full_server_says_when_to_retry(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1, retry_after_seconds=7)
    async with MemorySocket(app), MemorySocket(app) as second:
        error = await second.receive_frame()
        assert (error["code"], error["limit"], error["retry_after"]) == ("server_busy", 1, 7.0)
        assert await second.receive_frame() == {"type": "close", "code": 1013}
        assert (await get_response(app, LIMITS)).json()["can_start_stream"] is False
        ready = await get_response(app, "/readyz")
        assert (ready.status_code, ready.json()["full"]) == (200, True)
        assert read_metric(app, "echoic_full") == 1


async def test_a_high_total_backlog_refuses_new_streams(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_total_backlog_seconds=3.0)
    async with MemorySocket(app) as first:
        await block_stream(first, hook)
        async with MemorySocket(app) as second:
            error = await second.receive_frame()
            assert (error["code"], error["retry_after"]) == ("server_busy", 5.0)
            assert "limit" not in error
            assert await second.receive_frame() == {"type": "close", "code": 1013}
        hook.opened.set()
        first.send({"type": "commit"})
        assert (await first.receive_until("full_transcript"))[-1]["text"] == "alpha one two three four"
        async with MemorySocket(app) as third:
            third.send({"type": "ping"})
            assert await third.receive_frame() == {"type": "pong"}


async def test_refused_clients_do_not_disturb_open_streams(app: FastAPI) -> None:
    get_services(app).streams.max_streams = 1
    async with MemorySocket(app) as first, AsyncExitStack() as crowd:
        for _ in range(50):
            one = await crowd.enter_async_context(MemorySocket(app))
            assert (await one.receive_frame())["code"] == "server_busy"
        first.send({"type": "ping"})
        assert await first.receive_frame() == {"type": "pong"}


async def test_a_closed_stream_makes_room_for_another(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1)
    async with MemorySocket(app) as first:
        async with MemorySocket(app) as second:
            assert (await second.receive_frame())["code"] == "server_busy"
            assert await second.receive_frame() == {"type": "close", "code": 1013}
        first.disconnect()
        await first.wait_until_ended()
    async with MemorySocket(app) as third:
        third.send({"type": "ping"})
        assert await third.receive_frame() == {"type": "pong"}


async def test_draining_delivers_results_and_refuses_new_streams(app: FastAPI) -> None:
    streams = get_services(app).streams
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        socket.send(draw_words(["one", "two"]).tobytes())
        await wait_until_unread(socket)
        draining = asyncio.ensure_future(streams.drain(WAIT_SECONDS))
        frames = await socket.receive_until("full_transcript")
        assert [frame["text"] for frame in frames] == ["one two", "one two"]
        assert await socket.receive_frame() == {"type": "close", "code": 1001}
        await draining
    async with MemorySocket(app) as late:
        assert (await late.receive_frame())["code"] == "draining"
        assert await late.receive_frame() == {"type": "close", "code": 1013}


async def test_draining_closes_streams_that_do_not_end_in_time(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 3.0)]).tobytes())
        await wait_until_blocked(hook)
        await get_services(app).streams.drain(0.02)
        assert await socket.receive_frame() == {"type": "close", "code": 1001}
        await socket.wait_until_ended()
        hook.opened.set()

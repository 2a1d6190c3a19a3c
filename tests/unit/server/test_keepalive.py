"""Who is taken for gone, and who is answered although nobody takes what it says."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from echoic.engines.scripted import draw_words
from echoic.server.uvicorn_protocols import BoundedWebSocketProtocol
from support.memory_socket import STREAM_PATH
from support.patience import WAIT_SECONDS
from support.pool import BlockingHook
from support.raw_websocket import BINARY, PING, PONG, TEXT, RawWebSocket, build_frame
from support.streams import build_blocking_registry, get_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from support.app_fixtures import StartApp

AUDIO = draw_words([("alpha", 1.9), ("one", 0.6)] + [("two", 0.6)] * 4).tobytes()


@asynccontextmanager
async def serving(app: FastAPI, patience: float = 0.1) -> AsyncIterator[str]:
    """Serve an application that runs already, with pings in quick succession; yield where."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        ws=BoundedWebSocketProtocol,
        ws_ping_interval=0.05,
        ws_ping_timeout=patience,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        await server.shutdown([listener])


def pings(client: RawWebSocket, count: int) -> None:
    """Hear so many pings, and answer none."""
    while count:
        heard = client.read_frame()
        assert heard is not None
        count -= heard.opcode == PING


def answering(client: RawWebSocket, kind: str) -> dict[str, Any]:
    """Return the next message of a type, pings before it answered."""
    while (heard := client.read_frame()) is not None:
        if heard.opcode == PING:
            client.send(build_frame(PONG, heard.payload))
        elif heard.opcode == TEXT and heard.json["type"] == kind:
            return heard.json
    raise AssertionError(f"hung up before any {kind!r}")


async def test_a_client_that_answers_no_ping_and_says_nothing_is_gone(start_app: StartApp) -> None:
    app = await start_app(resume_seconds=0)
    async with serving(app) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)
        await asyncio.to_thread(pings, client, 1)
        async with asyncio.timeout(WAIT_SECONDS):
            await get_services(app).streams.wait_until_empty()
        client.reset_connection()


async def test_a_client_that_answers_pings_stays(start_app: StartApp) -> None:
    app = await start_app()
    async with serving(app, patience=1.0) as place:  # a busy machine pauses too
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def answer() -> None:
            ends = time.monotonic() + 2.0
            while time.monotonic() < ends:
                while (heard := client.read_frame()) is not None and heard.opcode != PING:
                    pass
                assert heard is not None
                client.send(build_frame(PONG, heard.payload))
            client.send_message(type="ping")
            answering(client, "pong")

        await asyncio.to_thread(answer)
        client.reset_connection()


async def test_a_client_that_is_not_read_is_not_gone_however_long(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=3)
    async with serving(app, patience=0.5) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def talk() -> None:
            client.send_message(type="config", model="scripted", enable_partial=False)
            client.read_until("status")
            client.send(*(build_frame(BINARY, AUDIO) for _ in range(6)))
            pings(client, 3)
            hook.opened.set()
            client.send_message(type="commit")
            assert answering(client, "full_transcript")["text"].count("alpha") == 6

        await asyncio.to_thread(talk)
        client.reset_connection()


async def test_a_ping_behind_audio_that_waits_is_answered(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=3)
    async with serving(app, patience=60) as place:
        client = await asyncio.to_thread(RawWebSocket, place, STREAM_PATH)

        def talk() -> None:
            client.send_message(type="config", model="scripted", enable_partial=False)
            client.read_until("status")
            client.send(build_frame(BINARY, AUDIO))
            client.send(
                *(build_frame(BINARY, AUDIO[:16_000]) for _ in range(20)), build_frame(PING, b"there?")
            )
            while (heard := client.read_frame()) is not None and heard.opcode != PONG:
                pass
            assert heard is not None
            assert heard.payload == b"there?"

        await asyncio.to_thread(talk)
        assert get_services(app).total_backlog.seconds < 6  # the rest is not read yet
        hook.opened.set()
        client.reset_connection()

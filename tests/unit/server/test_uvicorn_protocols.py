from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn
from websockets.asyncio.client import connect

from echoic.server.uvicorn_protocols import BoundedWebSocketProtocol, TimedHttpProtocol
from support.memory_socket import STREAM_PATH
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from support.app_fixtures import StartApp

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hasty(TimedHttpProtocol):
    """One that waits next to no time."""

    request_timeout = 0.25


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[tuple[str, int]]:
    """Serve an application that runs already; yield where."""
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, http=Hasty, ws=BoundedWebSocketProtocol, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        yield "127.0.0.1", listener.getsockname()[1]
        await server.shutdown([listener])


async def rest(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WAIT_SECONDS):
        return await reader.read()


async def test_who_does_not_ask_in_time_is_hung_up_on(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        for said in (b"", b"GET / HTTP/1.1\r\nX-Slow:", HEALTH[:-2]):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(said)
            assert await rest(reader) == b""
            writer.close()


async def test_a_second_request_must_come_in_time_too(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        reader, writer = await asyncio.open_connection(*place)
        for _ in range(3):
            writer.write(HEALTH)
            assert b"200 OK" in await reader.readuntil(b"}")
        writer.write(HEALTH[:-2])
        assert await rest(reader) == b""
        writer.close()


async def test_a_body_that_nobody_wants_must_come_in_time_too(start_app: StartApp) -> None:
    async with serving(await start_app()) as place:
        reader, writer = await asyncio.open_connection(*place)
        writer.write(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert b"405" in await reader.readuntil(b"}")
        writer.write(b"x")
        assert await rest(reader) == b""
        writer.close()


async def test_a_websocket_is_not_meant(start_app: StartApp) -> None:
    async with (
        serving(await start_app()) as (host, port),
        connect(f"ws://{host}:{port}{STREAM_PATH}") as client,
    ):
        await asyncio.sleep(2 * Hasty.request_timeout)
        await client.send('{"type":"ping"}')
        assert await client.recv() == '{"type":"pong"}'

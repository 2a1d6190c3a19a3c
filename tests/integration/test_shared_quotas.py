"""Servers that keep their quotas in a real Redis-compatible store."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.database_servers import ValkeyServer
from support.memory_socket import MemorySocket
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from echoic.quotas.ledger import QuotaLedger
    from support.in_memory_app import StartApp

pytest.importorskip("redis")

RATE = 16_000
KEY = {"x-api-key": "k"}
#: Six seconds, one stream.
SMALL = {"premium": {"daily_minutes": 0.1, "concurrent_streams": 1}}
WORDS = [(word, 1.0) for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def get_ledger(app: FastAPI) -> QuotaLedger:
    ledger: QuotaLedger = app.state.context.ledger
    return ledger


async def fetch_limits(app: FastAPI) -> dict[str, Any]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=KEY) as client:
        body: dict[str, Any] = (await client.get("/api/v1/audio/stream/limits")).json()
        return body


async def receive_until_close(socket: MemorySocket) -> list[dict[str, Any]]:
    frames = [await socket.receive_frame()]
    while frames[-1]["type"] != "close":
        frames.append(await socket.receive_frame())
    return frames


def send_in_messages(socket: MemorySocket, frame: float) -> None:
    audio, size = draw_words(WORDS, rate=RATE), round(frame * RATE)
    for start in range(0, len(audio), size):
        socket.send(audio[start : start + size].astype("<f4").tobytes())


@pytest.mark.parametrize("frame", [0.01, 0.1, 0.5, 10.0])
async def test_the_size_of_messages_does_not_change_the_charge(
    start_app: StartApp, valkey: ValkeyServer, frame: float
) -> None:
    app = await start_app(api_key="k", redis_url=valkey.url, tier_limits=SMALL)
    async with MemorySocket(app, headers=KEY) as socket:
        socket.send({"type": "config", "enable_partial": False})
        send_in_messages(socket, frame)
        frames = await receive_until_close(socket)
    texts = [frame["text"] for frame in frames if frame["type"] == "full_transcript"]
    assert texts == ["one two three four five six"]
    assert [frame["segment_end"] for frame in frames if frame["type"] == "final"][-1] == 6.0
    assert frames[-2] | {"message": ""} == {
        "type": "error",
        "code": "quota_exceeded",
        "error_type": "quota_exceeded",
        "message": "",
        "quota": "daily_minutes",
        "limit": 0.1,
        "used": 0.1,
    }
    assert frames[-1]["code"] == 4003
    body = await fetch_limits(app)
    assert (body["used_today_minutes"], body["active_streams"]) == (0.1, 0)
    assert (body["remaining_minutes"], body["can_start_stream"]) == (0, False)


async def test_servers_with_one_store_share_a_users_streams(
    start_app: StartApp, valkey: ValkeyServer
) -> None:
    one, other = [await start_app(api_key="k", redis_url=valkey.url, tier_limits=SMALL) for _ in range(2)]
    async with MemorySocket(one, headers=KEY) as first:
        first.send({"type": "ping"})
        await first.receive_frame()
        async with MemorySocket(other, headers=KEY) as second:
            error, close = await receive_until_close(second)
            assert (error["quota"], error["used"], close["code"]) == ("concurrent_streams", 1, 4003)
        assert not (await fetch_limits(other))["can_start_stream"]
    async with MemorySocket(other, headers=KEY) as second:
        second.send({"type": "ping"})
        assert await second.receive_frame() == {"type": "pong"}


async def test_a_killed_store_loses_no_word_and_no_charge(start_app: StartApp, valkey: ValkeyServer) -> None:
    app = await start_app(api_key="k", redis_url=valkey.url)
    audio = draw_words(WORDS, rate=RATE).astype("<f4").tobytes()
    async with MemorySocket(app, headers=KEY) as socket:
        socket.send({"type": "config", "enable_partial": False})
        socket.send(audio)
        socket.send({"type": "ping"})
        await socket.receive_until("pong")
        await asyncio.to_thread(valkey.kill)
        socket.send(audio)
        socket.send({"type": "commit"})
        transcripts = [(await socket.receive_until("full_transcript"))[-1]["text"]]
        await get_ledger(app).renew_leases()
        assert get_ledger(app).is_store_unavailable
        body = await fetch_limits(app)
        assert (body["used_today_minutes"], body["active_streams"]) == (None, 1)
        socket.send(audio)
        await asyncio.to_thread(valkey.start)
        await get_ledger(app).renew_leases()
        socket.send(audio)
        socket.send({"type": "commit"})
        transcripts.append((await socket.receive_until("full_transcript"))[-1]["text"])
    assert " ".join(transcripts).split() == [word for word, _ in WORDS] * 4
    assert (await fetch_limits(app))["used_today_minutes"] == pytest.approx(len(audio) / RATE / 60, abs=1e-6)


@pytest.mark.parametrize("end", ["stop", "leave", "fault", "drain"])
async def test_every_end_of_a_stream_releases_and_charges(
    start_app: StartApp, valkey: ValkeyServer, end: str
) -> None:
    app = await start_app(api_key="k", redis_url=valkey.url, tier_limits=SMALL)
    async with MemorySocket(app, headers=KEY) as socket:
        socket.send(bytes(4 * RATE))
        socket.send({"type": "commit"})
        await socket.receive_until("full_transcript")
        match end:
            case "stop":
                socket.send({"type": "stop"})
                await receive_until_close(socket)
            case "fault":
                (connection,) = app.state.context.services.streams._open_streams  # noqa: SLF001  # the fault
                connection._fail_stream(RuntimeError())  # noqa: SLF001  # no client can cause this failure
                await receive_until_close(socket)
            case "drain":
                await app.state.context.services.streams.drain(20)
    body = await fetch_limits(app)
    assert (body["active_streams"], body["used_today_minutes"]) == (0, pytest.approx(1 / 60, abs=1e-6))


async def test_a_stopped_process_settles_its_charges(
    valkey: ValkeyServer,
) -> None:
    shared = {"redis_url": valkey.url, "tier_limits": '{"local": {"concurrent_streams": 1}}'}
    with ServerProcess(**shared) as one, ServerProcess(**shared) as other:
        here, there = one.address, other.address
        async with connect(f"ws://{here}{STREAM_PATH}") as first:
            await first.send('{"type": "config", "model": "scripted", "enable_partial": false}')
            await first.send(draw_words(WORDS, rate=RATE).astype("<f4").tobytes())
            await first.recv()
            async with connect(f"ws://{there}{STREAM_PATH}") as second:
                error = json.loads(await second.recv())
                assert (error["code"], error["quota"]) == ("quota_exceeded", "concurrent_streams")
            one.process.terminate()
            frames = [json.loads(frame) async for frame in first]
        assert (await asyncio.to_thread(one.wait_for_exit))[0] == 0
        assert frames[-1] == {"type": "full_transcript", "text": " ".join(word for word, _ in WORDS)}
        async with httpx.AsyncClient() as client:
            url = f"http://{there}/api/v1/audio/stream/limits"
            body = (await client.get(url)).json()
    assert (body["active_streams"], body["can_start_stream"]) == (0, True)
    assert body["used_today_minutes"] == pytest.approx(
        len(draw_words(WORDS, rate=RATE)) / RATE / 60, abs=1e-6
    )

"""Clients that never read, send at 100 times real time, or vanish without a close frame."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

import pytest
import websockets
from websockets.asyncio.client import connect as open_socket

from echoic.client import connect, resumption
from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.cuttable_proxy import open_proxy
from support.server_process import ServerProcess
from support.stream_audio import stream_audio
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = '{"type":"config","model":"scripted"}'
WORDS = ["one", "two", "three", "four", "five"]
AUDIO = draw_words(WORDS * 6)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess(send_timeout_seconds="1", idle_timeout_seconds="2") as server:
        yield server.address


def count_streams(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:  # our own server
        lines = answer.read().decode().splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("echoic_streams_active "))))


async def wait_until_closed(address: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await asyncio.to_thread(count_streams, address):
            pass


async def test_a_client_that_never_reads_delays_no_other(address: str) -> None:
    unbroken = await stream_audio(f"ws://{address}", AUDIO)
    silent_reader = await open_socket(f"ws://{address}{STREAM_PATH}", max_queue=1, ping_interval=None)
    silent_reader.transport.pause_reading()
    long = json.dumps({"type": "config", "model": "scripted", "x" * 500_000: 1})  # and so is its answer

    async def send_configs() -> None:
        with suppress(websockets.ConnectionClosed, OSError):
            while True:
                await silent_reader.send(long)

    sending = asyncio.create_task(send_configs())
    other = await stream_audio(f"ws://{address}", AUDIO)
    assert other.finals == unbroken.finals
    await wait_until_closed(address)
    sending.cancel()
    silent_reader.transport.abort()


async def test_clients_at_100_times_real_time_lose_no_word() -> None:
    with ServerProcess() as server:
        await flood(server.address)


async def flood(address: str) -> None:
    """Flood a server, and stream another client that must not wait for the end of the floods."""
    long = draw_words(WORDS * 60)  # two minutes, sent as fast as the socket takes it
    unbroken = await stream_audio(f"ws://{address}", long, enable_partial=False)
    began = time.monotonic()
    floods = asyncio.gather(*(stream_audio(f"ws://{address}", long, enable_partial=False) for _ in range(4)))
    waits = []
    async with connect(f"ws://{address}", model="scripted") as stream:
        while not floods.done():
            await stream.send(draw_words(["one"]))
            before = time.monotonic()
            assert await stream.commit() == "one"
            waits.append(time.monotonic() - before)
        assert median(waits) < (time.monotonic() - began) / 4
    for flood in await floods:
        assert flood.finals == unbroken.finals
        assert flood.transcripts == unbroken.transcripts


async def test_a_silent_connection_is_replaced_without_lost_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resumption, "ANSWER_TIMEOUT", 0.3)
    with ServerProcess() as server:
        address = server.address
        unbroken = await stream_audio(f"ws://{address}", AUDIO)
        async with open_proxy(address) as (proxy, through):

            async def fault(number: int) -> None:
                if number in (10, 40):
                    proxy.mute_connections()

            again = await stream_audio(f"ws://{through}", AUDIO, fault)
            assert proxy.connection_count >= 3
    assert again.finals == unbroken.finals
    assert again.transcripts == unbroken.transcripts


async def test_a_vanished_client_is_closed_after_the_idle_timeout(address: str) -> None:
    async with open_proxy(address) as (proxy, through):
        client = await open_socket(f"ws://{through}{STREAM_PATH}", ping_interval=None)
        await client.send(CONFIG)
        await client.send(draw_words(["one"]).tobytes())
        await client.send('{"type":"ping"}')
        while json.loads(await client.recv())["type"] != "pong":
            pass
        assert count_streams(address) == 1
        proxy.mute_connections()
        await wait_until_closed(address)
        assert client.close_code is None  # the client received no close
        client.transport.abort()


async def test_an_unfinished_handshake_opens_no_stream(address: str) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"GET {STREAM_PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        assert (await stream_audio(f"ws://{address}", AUDIO)).text == " ".join(WORDS * 6)
    await wait_until_closed(address)

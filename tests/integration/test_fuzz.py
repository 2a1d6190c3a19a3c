"""A server that is sent garbage answers each message, forgets each client and goes on.

``FUZZ_MESSAGES=100000 python -m pytest tests/integration/test_fuzz.py -s`` sends more, and prints figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from itertools import islice
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echoic.engines.scripted import draw_words
from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message
from support.random_messages import Message, generate_random_messages
from support.server_process import STREAM_PATH, ServerProcess, read_resident_mib

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "3000"))
PER_STREAM = 250
SIDE_BY_SIDE = 4
#: What only a server's fault would bring, or what ends a stream.
NEVER = {ErrorCode.INTERNAL_ERROR, ErrorCode.FRAME_TOO_LARGE, ErrorCode.IDLE_TIMEOUT, ErrorCode.DECODE_FAILED}


class Tally:
    """What a fuzz has sent and heard."""

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self.frames: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def hear(self, frame: dict[str, Any]) -> None:
        """Count a frame; an error must be a clear one."""
        self.frames[frame["type"]] += 1
        if frame["type"] == "error":
            assert frame["code"] == frame["error_type"]
            assert frame["message"].partition(" To install it: ")[0].endswith(".")
            self.errors[frame["code"]] += 1


def is_refused(message: Message) -> bool:
    try:
        decode_message(message)
    except ProtocolError:
        return True
    return False


async def one_stream(place: str, seed: int, count: int, tally: Tally) -> None:
    """Send so many messages; every fifth client then goes away without a word."""
    async with connect(f"ws://{place}{STREAM_PATH}", max_size=None, compression=None) as connection:
        await connection.send('{"type": "config", "model": "scripted"}')
        listening = asyncio.ensure_future(listen(connection, tally))
        for message in islice(generate_random_messages(seed), count):
            await connection.send(message)
            tally.sent += 1
            tally.refused += is_refused(message)
        if seed % 5 == 4:
            await connection.send('{"type": "ping", "after": "everything"}')
            connection.transport.abort()
            await listening
        else:
            await connection.send('{"type": "stop"}')
            assert await listening == 1000


async def listen(connection: ClientConnection, tally: Tally) -> int | None:
    """Hear until the close; return its code."""
    try:
        while True:
            tally.hear(json.loads(await connection.recv()))
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else None


async def fuzz(place: str, messages: int) -> Tally:
    tally = Tally()
    seeds = iter(range(messages // PER_STREAM))

    async def streams() -> None:
        for seed in seeds:
            await one_stream(place, seed, PER_STREAM, tally)

    await asyncio.gather(*(streams() for _ in range(SIDE_BY_SIDE)))
    return tally


async def transcribed(place: str) -> str:
    async with connect(f"ws://{place}{STREAM_PATH}") as connection:
        await connection.send('{"type": "config", "model": "scripted"}')
        await connection.send(draw_words(["one", "two", "three"]).tobytes())
        await connection.send('{"type": "commit"}')
        while (frame := json.loads(await connection.recv()))["type"] != "full_transcript":
            pass
        return str(frame["text"])


def metrics(place: str) -> dict[str, float]:
    with urlopen(f"http://{place}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


@pytest.mark.timeout(1200)
async def test_garbage_is_answered_and_leaves_nothing_behind() -> None:
    with ServerProcess(streaming_fallback="no", log_level="error") as server:
        place = server.address
        await fuzz(place, PER_STREAM)
        before, began = read_resident_mib(server.process.pid), time.perf_counter()
        tally = await fuzz(place, MESSAGES)
        seconds, after = time.perf_counter() - began, read_resident_mib(server.process.pid)
        assert await transcribed(place) == "one two three"
        counted = await empty(place)
        assert server.process.poll() is None
        print(  # noqa: T201  # the figures of a long run
            f"\n{tally.sent} messages in {seconds:.1f} s, {tally.sent / seconds:.0f} a second; "
            f"resident {before:.1f} MiB before, {after:.1f} after; "
            f"errors {dict(tally.errors.most_common())}; frames {dict(tally.frames.most_common())}"
        )
    assert tally.errors.total() >= 0.75 * tally.refused
    assert set(tally.errors) <= set(ErrorCode) - NEVER
    assert counted['echoic_errors_total{code="internal_error"}'] == 0
    assert 'echoic_closes_total{code="1011"}' not in counted
    assert after < before + 64


async def empty(place: str) -> dict[str, float]:
    """Wait until no stream is open; return what the server counted."""
    async with asyncio.timeout(20):
        while (counted := await asyncio.to_thread(metrics, place))["echoic_streams_active"]:
            pass
    return counted


@pytest.mark.timeout(120)
async def test_each_refused_message_is_answered_by_its_error() -> None:
    with ServerProcess(streaming_fallback="no", log_level="error") as server:
        tally = Tally()
        await one_stream(server.address, 1, 500, tally)
    assert tally.refused > 100
    assert tally.errors.total() >= tally.refused

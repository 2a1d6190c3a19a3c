"""Random messages: the server answers each, releases every stream and keeps serving.

``FUZZ_MESSAGES=100000 python -m pytest tests/integration/test_fuzz.py -s`` sends more, and prints figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from echoic.engines.scripted import draw_words
from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message
from echoic.protocol.constants import STREAM_PATH
from support.random_messages import Message, generate_random_messages
from support.server_process import ServerProcess, read_resident_mib

MESSAGE_COUNT = int(os.environ.get("FUZZ_MESSAGES", "2000"))
MESSAGES_PER_STREAM = 250
STREAM_COUNT = 4
#: Codes of the server's own faults, and of errors that end a stream.
FORBIDDEN_CODES = {
    ErrorCode.INTERNAL_ERROR,
    ErrorCode.FRAME_TOO_LARGE,
    ErrorCode.IDLE_TIMEOUT,
    ErrorCode.DECODE_FAILED,
}


class FuzzCounts:
    """Counts the messages sent and the frames received."""

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self.frames: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def count_frame(self, frame: dict[str, Any]) -> None:
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


async def send_garbage(address: str, seed: int, count: int, counts: FuzzCounts) -> None:
    """Send random messages; every fifth client then vanishes without a close frame."""
    async with connect(f"ws://{address}{STREAM_PATH}", max_size=None, compression=None) as connection:
        await connection.send('{"type": "config", "model": "scripted"}')
        reading = asyncio.ensure_future(read_until_close(connection, counts))
        for message in islice(generate_random_messages(seed), count):
            await connection.send(message)
            counts.sent += 1
            counts.refused += is_refused(message)
        if seed % 5 == 4:
            await connection.send('{"type": "ping", "after": "everything"}')
            connection.transport.abort()
            await reading
        else:
            await connection.send('{"type": "stop"}')
            assert await reading == 1000


async def read_until_close(connection: ClientConnection, counts: FuzzCounts) -> int | None:
    """Count frames until the close; return its code."""
    try:
        while True:
            counts.count_frame(json.loads(await connection.recv()))
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else None


async def run_fuzz(address: str, messages: int) -> FuzzCounts:
    counts = FuzzCounts()
    seeds = iter(range(messages // MESSAGES_PER_STREAM))

    async def run_streams() -> None:
        for seed in seeds:
            await send_garbage(address, seed, MESSAGES_PER_STREAM, counts)

    await asyncio.gather(*(run_streams() for _ in range(STREAM_COUNT)))
    return counts


async def transcribe_words(address: str) -> str:
    async with connect(f"ws://{address}{STREAM_PATH}") as connection:
        await connection.send('{"type": "config", "model": "scripted"}')
        await connection.send(draw_words(["one", "two", "three"]).tobytes())
        await connection.send('{"type": "commit"}')
        while (frame := json.loads(await connection.recv()))["type"] != "full_transcript":
            pass
        return str(frame["text"])


def fetch_metrics(address: str) -> dict[str, float]:
    with urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


async def wait_until_all_closed(address: str) -> dict[str, float]:
    """Wait until no stream is open; return the metrics."""
    async with asyncio.timeout(20):
        while (exported := await asyncio.to_thread(fetch_metrics, address))["echoic_streams_active"]:
            pass
    return exported


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess(streaming_fallback="no", log_level="error") as process:
        yield process


@pytest.mark.timeout(1200)
async def test_garbage_is_answered_and_leaves_nothing_behind(server: ServerProcess) -> None:
    address = server.address
    await run_fuzz(address, MESSAGES_PER_STREAM)
    before, began = read_resident_mib(server.process.pid), time.perf_counter()
    counts = await run_fuzz(address, MESSAGE_COUNT)
    seconds, after = time.perf_counter() - began, read_resident_mib(server.process.pid)
    assert await transcribe_words(address) == "one two three"
    exported = await wait_until_all_closed(address)
    assert server.process.poll() is None
    print(  # noqa: T201  # the figures of a long run
        f"\n{counts.sent} messages in {seconds:.1f} s, {counts.sent / seconds:.0f} a second; "
        f"resident {before:.1f} MiB before, {after:.1f} after; "
        f"errors {dict(counts.errors.most_common())}; frames {dict(counts.frames.most_common())}"
    )
    assert counts.errors.total() >= 0.75 * counts.refused
    assert set(counts.errors) <= set(ErrorCode) - FORBIDDEN_CODES
    assert exported['echoic_errors_total{code="internal_error"}'] == 0
    assert 'echoic_closes_total{code="1011"}' not in exported
    assert after < before + 64


@pytest.mark.timeout(120)
async def test_each_refused_message_is_answered_by_its_error(server: ServerProcess) -> None:
    counts = FuzzCounts()
    await send_garbage(server.address, 1, 500, counts)
    assert counts.refused > 100
    assert counts.errors.total() >= counts.refused

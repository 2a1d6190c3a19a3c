"""Streams by the dozen at a real server: nothing is missed and nothing stays behind.

Two hundred for minutes, with how late they are: ``python -m tools.benchmarks load --minutes 10``.
"""

from __future__ import annotations

import asyncio
from urllib.request import urlopen

from support.server_process import STREAM_PATH, ServerProcess, read_resident_mib
from tools.benchmarks.raw_clients import run_streams

STREAMS = 20
SECONDS = 4.4
#: MiB; a stream that were kept would take a tenth of one.
ROOM = 8


async def test_many_streams_get_all_finals_in_constant_memory() -> None:
    with ServerProcess(log_level="error") as server:
        place = server.address
        url = f"ws://{place}{STREAM_PATH}"
        await run_streams(url, STREAMS, 2.4)
        before = read_resident_mib(server.process.pid)
        outcome = await run_streams(url, STREAMS, SECONDS)
        assert outcome.due == 2 * STREAMS
        assert (outcome.missed, outcome.wrong, outcome.lost) == (0, 0, 0)
        assert outcome.partials
        await _emptied(place)
        assert read_resident_mib(server.process.pid) < before + ROOM


async def _emptied(place: str) -> None:
    async with asyncio.timeout(20):
        while "echoic_streams_active 0.0" not in await asyncio.to_thread(_metrics, place):
            pass


def _metrics(place: str) -> str:
    with urlopen(f"http://{place}/metrics", timeout=20) as answer:
        return str(answer.read().decode())

"""Twenty streams in real time on a real server: all finals arrive, and memory stays constant.

Two hundred streams for minutes, with their latencies: ``python -m tools.benchmarks load --minutes 10``.
"""

from __future__ import annotations

import asyncio
from urllib.request import urlopen

from echoic.protocol.constants import STREAM_PATH
from support.server_process import ServerProcess, read_resident_mib
from tools.benchmarks.raw_clients import run_streams

STREAM_COUNT = 20
SECONDS = 2.4
#: A stream that is not released takes about 0.1 MiB.
MAX_GROWTH_MIB = 8


async def test_many_streams_get_all_finals_in_constant_memory() -> None:
    with ServerProcess(log_level="error") as server:
        address = server.address
        url = f"ws://{address}{STREAM_PATH}"
        await run_streams(url, STREAM_COUNT, 1.0)
        before = read_resident_mib(server.process.pid)
        outcome = await run_streams(url, STREAM_COUNT, SECONDS)
        assert outcome.due == STREAM_COUNT
        assert (outcome.missed, outcome.wrong, outcome.lost) == (0, 0, 0)
        assert outcome.partials
        await _wait_until_all_closed(address)
        assert read_resident_mib(server.process.pid) < before + MAX_GROWTH_MIB


async def _wait_until_all_closed(address: str) -> None:
    async with asyncio.timeout(20):
        while "echoic_streams_active 0.0" not in await asyncio.to_thread(_fetch_metrics, address):
            pass


def _fetch_metrics(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return str(answer.read().decode())

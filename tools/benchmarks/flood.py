"""A stream in real time beside clients that send small messages as fast as they can."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tools.benchmarks import report
from tools.benchmarks.process import BenchmarkServer
from tools.benchmarks.streams import StreamScript, draw_script, send_config, stream_script

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_FLOODERS = 48
#: Messages that each hands over at a time, and seconds until the next.
_BURST, _PAUSE = 10, 0.01
_KINDS: dict[str, str | bytes] = {"audio of 1 ms": bytes(64), "pings": '{"type":"ping"}'}
#: Seconds in which the flood rises.
_HEAD_START = 4.0


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    seconds = 5.0 if quick else 10.0
    rows: list[list[report.Cell]] = []
    for kind, message in _KINDS.items():
        with BenchmarkServer("--engine", "free") as server:
            script = StreamScript(draw_script(seconds)[1])
            alone = asyncio.run(stream_script(server.url, script)).delays
            flood = multiprocessing.Process(
                target=_run_flooders, args=(server.url, message, _HEAD_START + seconds + 2), daemon=True
            )
            flood.start()
            time.sleep(_HEAD_START)
            beside = asyncio.run(stream_script(server.url, script)).delays
            flood.join()
        rows.append([kind, *(1000 * one for one in (median(alone), median(beside), max(beside)))])
    header = ["they send", "alone, p50", f"beside {_FLOODERS}, p50", "most"]
    report.print_table("From the message that completes a window to its final, ms", header, rows)
    report.save_results(
        "flood", {"flooders": _FLOODERS, "rows": [dict(zip(header, row, strict=True)) for row in rows]}
    )


def _run_flooders(url: str, message: str | bytes, seconds: float) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(_flood_server(url, message, seconds) for _ in range(_FLOODERS)))

    asyncio.run(all_of_them())


async def _flood_server(url: str, message: str | bytes, seconds: float) -> None:
    ends = time.perf_counter() + seconds
    async with connect(url, compression=None, ping_interval=None) as socket:
        await send_config(socket, enable_partial=False)
        reading = asyncio.create_task(_drain_frames(socket))
        with suppress(ConnectionClosed):
            while time.perf_counter() < ends:
                for _ in range(_BURST):
                    await socket.send(message)
                await asyncio.sleep(_PAUSE)
        reading.cancel()


async def _drain_frames(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass

"""Hundreds of streams at the same time against one alone: lateness, missed finals, memory, processor time."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.evaluate.metrics import percentile
from tools.benchmarks import report
from tools.benchmarks.many import LoadResult, run_streams
from tools.benchmarks.process import BenchmarkServer

if TYPE_CHECKING:
    from collections.abc import Sequence

AIM_RATIO = 3.0
STREAMS = 200
_MARKS = (50, 95, 99)
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What was measured.

    Attributes:
        alone: One stream's, before and after the crowd together.
        crowd: All streams'.
        memory: Bytes that the server occupied, twice a second.
        cores: The server's processor time for each second.
    """

    alone: LoadResult
    crowd: LoadResult
    memory: list[int]
    cores: float


def measure(*, quick: bool) -> None:
    """Measure, print and save; ``--streams`` and ``--minutes`` say how many and how long."""
    streams = int(os.environ.get("ECHOIC_BENCH_STREAMS") or STREAMS)
    minutes = float(os.environ.get("ECHOIC_BENCH_MINUTES") or (0.25 if quick else 1.0))
    with BenchmarkServer("--threads", "2") as server:
        figures = asyncio.run(_measure_load(server, streams, 60 * minutes, 10.0 if quick else 45.0))
    alone, crowd = figures.alone, figures.crowd
    kinds = {
        "final": (alone.finals, crowd.finals),
        "partial": (alone.partials, crowd.partials),
        "generator's own lateness": (alone.late, crowd.late),
    }
    rows = {kind: _compare_percentiles(*both) for kind, both in kinds.items()}
    header = [f"{who} p{mark}" for who in ("alone", str(streams), "ratio") for mark in _MARKS]
    title = f"{streams} streams for {minutes:g} min: ms from the message that makes a frame due"
    report.print_table(title, ("frame", *header), [[kind, *marks] for kind, marks in rows.items()])
    facts = {
        "streams": streams,
        "minutes": minutes,
        "windows": crowd.due,
        "missed_finals": crowd.missed + alone.missed,
        "wrong_transcripts": crowd.wrong + alone.wrong,
        "lost_streams": crowd.lost + alone.lost,
        "partials": len(crowd.partials),
        "server_cores": figures.cores,
        "server_ms_per_audio_second": 1000 * figures.cores / streams,
        "generator_cores": crowd.cpu,
        **_summarize_memory(figures.memory),
    }
    report.print_table(
        "The server and its load", ("", "figure"), [[name, fact] for name, fact in facts.items()]
    )
    ratio = rows["final"][7]
    print(f"  p95 of finals at most {AIM_RATIO:g} times alone: {report.render_verdict(ratio <= AIM_RATIO)}")
    delays = {kind: dict(zip(header, marks, strict=True)) for kind, marks in rows.items()}
    report.save_results("load", {"aim_ratio": AIM_RATIO, **facts, "ms": delays})


async def _measure_load(
    server: BenchmarkServer, streams: int, seconds: float, alone_seconds: float
) -> LoadFigures:
    await run_streams(server.url, 20, 4.0)  # warm
    await run_streams(server.url, streams, 4.0)
    await server.wait_for_streams(0)
    before = await run_streams(server.url, 1, alone_seconds)
    memory: list[int] = []
    watch = asyncio.create_task(_sample_memory(server, memory))
    used, began = server.cpu_seconds, time.perf_counter()
    crowd = await run_streams(server.url, streams, seconds)
    cores = (server.cpu_seconds - used) / (time.perf_counter() - began)
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
    after = await run_streams(server.url, 1, alone_seconds)
    await server.wait_for_streams(0)
    return LoadFigures(before + after, crowd, memory, cores)


async def _sample_memory(server: BenchmarkServer, memory: list[int]) -> None:
    while True:
        memory.append(server.rss_bytes)
        await asyncio.sleep(_LOOK_SECONDS)


def _compare_percentiles(alone: Sequence[float], crowd: Sequence[float]) -> list[float]:
    """Return the percentiles in ms alone, those of the crowd, and how many times as large these are."""
    ones = [1000 * percentile(alone, mark) for mark in _MARKS]
    many = [1000 * percentile(crowd, mark) for mark in _MARKS]
    return [*ones, *many, *(b / a if a else 0.0 for a, b in zip(ones, many, strict=True))]


def _summarize_memory(samples: Sequence[int]) -> dict[str, float]:
    """Return the means of the first and the last third in MB, and by how many percent the last is more."""
    third = max(1, len(samples) // 3)
    first, last = (sum(part) / len(part) / 1e6 for part in (samples[:third], samples[-third:]))
    return {
        "memory_mb_first_third": first,
        "memory_mb_last_third": last,
        "memory_percent_more": 100 * (last / first - 1),
    }

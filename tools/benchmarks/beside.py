"""How long a final takes, alone and beside a crowd, against what the recogniser takes for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from echoic.engines.scripted import STATEFUL, DecodeCost, ScriptedEngine
from echoic.evaluate.metrics import percentile
from echoic.interfaces.engine import Window
from tools.benchmarks import report
from tools.benchmarks.crowd import run_crowd
from tools.benchmarks.process import BenchmarkServer, build_child_environment
from tools.benchmarks.streams import draw_script

if TYPE_CHECKING:
    from collections.abc import Sequence

AIM_MS = 20.0
CROWD = 50
#: Seconds of a batch, and how many batches run at the same time.
_CASES = ((0.0, 1), (0.020, 1), (0.020, 2))
_HEADER = (
    "case",
    "finals",
    "missed",
    "p50",
    "p95",
    "p99",
    "engine alone",
    "p50 more",
    "p95 more",
    "p99 more",
)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    seconds = 6.0 if quick else 40.0
    rows: list[list[report.Cell]] = []
    wrong = 0
    for cost, threads in _CASES[:2] if quick else _CASES:
        engine = 1000 * _measure_engine_seconds(cost)
        with BenchmarkServer("--batch-cost", str(cost), "--threads", str(threads)) as server:
            asyncio.run(run_crowd(server.url, 2, 2.0))  # warm
            name = f"{1000 * cost:g} ms a batch, {threads} thread{'s' if threads > 1 else ''}"
            alone = asyncio.run(run_crowd(server.url, 1, seconds / 2))
            rows.append(_build_row(f"{name}, alone", [alone], engine))
            probe, others = _measure_in_crowd(server, seconds)
            rows.append(_build_row(f"{name}, one beside {CROWD}", [probe], engine))
            rows.append(_build_row(f"{name}, the {CROWD} themselves", [others], engine))
            wrong += sum(int(str(one["wrong"])) for one in (alone, probe, others))
    report.print_table("Message that completes a window to its final, ms", _HEADER, rows)
    print(f"  Transcripts that differ from what was spoken: {wrong}")
    figures = [dict(zip(_HEADER, row, strict=True)) for row in rows]
    report.save_results("beside", {"aim_ms": AIM_MS, "cases": figures, "wrong_transcripts": wrong})


def _measure_in_crowd(server: BenchmarkServer, seconds: float) -> tuple[dict[str, object], dict[str, object]]:
    """Return what came of one stream, and of the crowd that spoke beside it in another process."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tools.benchmarks.crowd", server.url, str(CROWD), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=report.ROOT,
        env=build_child_environment(),
    )
    try:
        while server.read_state()["streams"] < CROWD:
            time.sleep(0.1)
        probe = asyncio.run(run_crowd(server.url, 1, seconds * 0.8))
        out, _ = child.communicate(timeout=seconds + 60)
    except BaseException:
        child.kill()
        raise
    return probe, json.loads(out)


def _build_row(name: str, outcomes: Sequence[dict[str, object]], engine: float) -> list[report.Cell]:
    delays: list[float] = []
    for outcome in outcomes:
        found = outcome["delays"]
        delays += [1000 * float(delay) for delay in found] if isinstance(found, list) else []
    missed = sum(int(str(outcome["missed"])) for outcome in outcomes)
    marks = [percentile(delays, percent) for percent in (50, 95, 99)]
    return [name, len(delays), missed, *marks, engine, *(mark - engine for mark in marks)]


def _measure_engine_seconds(cost: float) -> float:
    """Return the seconds that the recogniser takes for a window when nobody else asks."""
    engine = ScriptedEngine(STATEFUL, cost=DecodeCost(batch_seconds=cost))
    audio = draw_script(2.0)[1][:32_000].astype(np.float32)
    window = Window(audio, 16_000, 0.0, left_context=0, new_samples=len(audio), right_context=0)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        engine.decode([window])
        taken.append(time.perf_counter() - began)
    return percentile(taken, 50)

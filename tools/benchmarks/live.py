"""Streams in real time through a real server with Parakeet: how late finals are, and how many it holds.

The tiny Parakeet always; models of the true shapes (``python -m tools.benchmarks.shapes``) if their folder is given
by ``--shapes``. A number of streams is held if the finals of its last third are in time: what is not held
falls behind without end. A window in which no word ends brings no final.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoic.evaluate.metrics import percentile
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings
from tools.benchmarks import report
from tools.benchmarks.process import BenchmarkServer
from tools.benchmarks.streams import RATE, STEP, ClientResult, StreamScript, stream_script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Numbers of streams that are tried, by the model's name; the first that is not held ends it.
_TINY = (1, 8, 24, 48, 72, 96)
_LARGE = (1, 2, 4, 6, 8, 10, 12, 15, 18, 22, 26)
#: Seconds that a final may take after its window is complete; beyond, or growing, the number is not held.
_LATEST = 1.5


@dataclass(frozen=True, slots=True)
class LiveCase:
    """A model and how it is asked."""

    name: str
    folder: Path
    stream_counts: Sequence[int]
    partials: bool
    contexts: tuple[float, float]


_HEADER = (
    "model, left / right, partials",
    "streams",
    "finals",
    "without",
    "p50",
    "p95",
    "last third p95",
    "held",
    "cores used",
)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    rows: list[list[report.Cell]] = []
    for case in _build_cases(quick=quick):
        for number in case.stream_counts:
            row, held = _run_case(case, number, 12.0 if quick else 24.0)
            rows.append(row)
            if not held:
                break
    report.print_table("From the message that completes a window to its final, s", _HEADER, rows)
    report.save_results("live", {"cases": [dict(zip(_HEADER, row, strict=True)) for row in rows]})


def _build_cases(*, quick: bool) -> list[LiveCase]:
    cases = [
        LiveCase("tiny", TINY_PARAKEET_FOLDER, _TINY[:2] if quick else _TINY, partials=p, contexts=(4, 1))
        for p in (False, True)
    ]
    shapes = os.environ.get("ECHOIC_SHAPES")
    if shapes is None:
        print("\nlive: models of the true shapes are left out, ECHOIC_SHAPES names no folder")
        return cases
    for name in ("110m", "0.6b"):
        folder = Path(shapes) / name
        if folder.is_dir():
            cases += [
                LiveCase(name, folder, _LARGE[:2] if quick else _LARGE, partials, contexts)
                for contexts in ((4.0, 1.0), (1.0, 1.0))
                for partials in (False, True)
            ]
    return cases


def _run_case(case: LiveCase, number: int, seconds: float) -> tuple[list[report.Cell], bool]:
    left, right = case.contexts
    options = ("--engine", "parakeet", "--folder", str(case.folder), "--threads", "1")
    with BenchmarkServer(*options, "--contexts", str(left), str(right)) as server:
        config: dict[str, object] = {"model": "parakeet-onnx", "enable_partial": case.partials}
        asyncio.run(_run_streams(server.url, 1, 4.0, config))  # warm
        before = server.cpu_seconds
        heard = asyncio.run(_run_streams(server.url, number, seconds, config))
        used = (server.cpu_seconds - before) / (seconds + STEP)
    delays = sorted(
        (end, one.finals[end] - at) for one in heard for end, at in one.due.items() if end in one.finals
    )
    late = [delay for _, delay in delays]
    last = [delay for end, delay in delays if end > seconds * 2 / 3]
    without = sum(one.missed for one in heard)
    held = percentile(last, 95) < _LATEST
    name = f"{case.name}, {left:g} / {right:g}{', partials' if case.partials else ''}"
    marks = [percentile(late, 50), percentile(late, 95), percentile(last, 95)]
    return [name, number, len(late), without, *marks, report.render_verdict(held), used], held


async def _run_streams(
    url: str, number: int, seconds: float, config: dict[str, object]
) -> list[ClientResult]:
    scripts = [
        StreamScript(_join_recordings(seconds, place), wait=STEP * place / number, config=config)
        for place in range(number)
    ]
    return list(await asyncio.gather(*(stream_script(url, script) for script in scripts)))


def _join_recordings(seconds: float, first: int) -> NDArray[np.float32]:
    """Return recordings one after the other, from one of them on, without pauses."""
    parts: list[NDArray[np.float32]] = []
    while sum(len(part) for part in parts) < seconds * RATE:
        parts.append(read_recordings()[(first + len(parts)) % len(read_recordings())][0])
    return np.concatenate(parts)[: round(seconds * RATE)]

"""Load scenarios: hundreds of streams, one beside a crowd, one beside a flood, and how many a model holds."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from echoic.engines.scripted import STATEFUL, DecodeCost, ScriptedEngine
from echoic.evaluate.metrics import percentile
from echoic.interfaces.engine import Window
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings
from tools.benchmarks import raw_clients, report, simulated_load
from tools.benchmarks.clients import (
    FLOOD_MESSAGES,
    RATE,
    STEP,
    StreamScript,
    build_crowd_scripts,
    draw_script,
    run_scripts,
)
from tools.benchmarks.load_driver import (
    Column,
    Load,
    Phase,
    report_phases,
    run_in_background,
    run_phase,
)
from tools.benchmarks.load_results import LoadResult, percentiles_ms
from tools.benchmarks.process import BenchmarkServer

_MARKS = (50, 95, 99)

# --- load: hundreds of streams against one alone ---

LOAD_STREAMS = 200
#: The most times as late as alone that finals may be at p95.
AIM_LOAD_RATIO = 3.0


def measure_load(*, quick: bool) -> None:
    """Compare hundreds of streams with one alone; ``--streams`` and ``--minutes`` set the size."""
    streams = int(os.environ.get("ECHOIC_BENCH_STREAMS") or LOAD_STREAMS)
    minutes = float(os.environ.get("ECHOIC_BENCH_MINUTES") or (0.25 if quick else 1.0))
    alone_seconds = 10.0 if quick else 45.0
    with BenchmarkServer("--threads", "2") as server:
        for count in (20, streams):
            run_phase(server, "warm-up", _raw_load(count, 4.0))
        asyncio.run(server.wait_for_streams(0))
        before = run_phase(server, "alone", _raw_load(1, alone_seconds))
        crowd = run_phase(server, "crowd", _raw_load(streams, 60 * minutes))
        after = run_phase(server, "alone", _raw_load(1, alone_seconds))
    _report_load(before.result + after.result, crowd, streams, minutes)


def _raw_load(streams: int, seconds: float) -> Load:
    return partial(raw_clients.run_streams, streams=streams, seconds=seconds)


def _report_load(alone: LoadResult, crowd: Phase, streams: int, minutes: float) -> None:
    many = crowd.result
    kinds = {
        "final": (alone.finals, many.finals),
        "partial": (alone.partials, many.partials),
        "generator's own lateness": (alone.late, many.late),
    }
    rows = {kind: _compare_percentiles(*both) for kind, both in kinds.items()}
    header = [f"{who} p{mark}" for who in ("alone", str(streams), "ratio") for mark in _MARKS]
    title = f"{streams} streams for {minutes:g} min: ms from the message that makes a frame due"
    report.print_table(title, ("frame", *header), [[kind, *marks] for kind, marks in rows.items()])
    facts = {
        "streams": streams,
        "minutes": minutes,
        "windows": many.due,
        "missed_finals": many.missed + alone.missed,
        "wrong_transcripts": many.wrong + alone.wrong,
        "lost_streams": many.lost + alone.lost,
        "partials": len(many.partials),
        "server_cores": crowd.server_cores,
        "server_ms_per_audio_second": 1000 * crowd.server_cores / streams,
        "generator_cores": many.cpu,
        **_summarize_memory(crowd.memory),
    }
    report.print_table(
        "The server and its load", ("", "figure"), [[name, fact] for name, fact in facts.items()]
    )
    ratio = rows["final"][len(_MARKS) * 2 + _MARKS.index(95)]
    good = report.render_verdict(ratio <= AIM_LOAD_RATIO)
    print(f"  p95 of finals at most {AIM_LOAD_RATIO:g} times alone: {good}")
    delays = {kind: dict(zip(header, marks, strict=True)) for kind, marks in rows.items()}
    report.save_results("load", {"aim_ratio": AIM_LOAD_RATIO, **facts, "ms": delays})


def _compare_percentiles(alone: Sequence[float], crowd: Sequence[float]) -> list[float]:
    """Return percentiles in ms alone, then in the crowd, then the ratios."""
    ones, many = percentiles_ms(alone, _MARKS), percentiles_ms(crowd, _MARKS)
    return [*ones, *many, *(b / a if a else 0.0 for a, b in zip(ones, many, strict=True))]


def _summarize_memory(samples: Sequence[int]) -> dict[str, float]:
    """Return the mean of the first and the last third in MB, and the growth in percent."""
    third = max(1, len(samples) // 3)
    first, last = (sum(part) / len(part) / 1e6 for part in (samples[:third], samples[-third:]))
    return {
        "memory_mb_first_third": first,
        "memory_mb_last_third": last,
        "memory_percent_more": 100 * (last / first - 1),
    }


# --- beside: one stream beside a crowd ---

AIM_BESIDE_MS = 20.0
CROWD = 50
#: Seconds of a batch, and how many batches run at the same time.
_BATCHES = ((0.0, 1), (0.020, 1), (0.020, 2))


def measure_beside(*, quick: bool) -> None:
    """Compare the delay of finals with the engine's own time: alone, beside a crowd, and in the crowd."""
    seconds = 6.0 if quick else 40.0
    phases: list[tuple[Phase, float]] = []
    for cost, threads in _BATCHES[:2] if quick else _BATCHES:
        engine_ms = 1000 * _measure_engine_seconds(cost)
        with BenchmarkServer("--batch-cost", str(cost), "--threads", str(threads)) as server:
            run_phase(server, "warm-up", _crowd_load(2, 2.0))
            name = f"{1000 * cost:g} ms a batch, {threads} thread{'s' if threads > 1 else ''}"
            phases.append((run_phase(server, f"{name}, alone", _crowd_load(1, seconds / 2)), engine_ms))
            with run_in_background(server, "crowd", CROWD, seconds) as crowd:
                asyncio.run(server.wait_for_streams(CROWD))
                probe = run_phase(server, f"{name}, one beside {CROWD}", _crowd_load(1, seconds * 0.8))
                others = Phase(f"{name}, the {CROWD} themselves", LoadResult.from_json(crowd.wait()))
            phases += [(probe, engine_ms), (others, engine_ms)]
    _report_beside(phases)


def _crowd_load(streams: int, seconds: float) -> Load:
    return partial(run_scripts, scripts=build_crowd_scripts(streams, seconds))


def _report_beside(phases: Sequence[tuple[Phase, float]]) -> None:
    engine = {phase.name: engine_ms for phase, engine_ms in phases}
    columns: list[Column] = [
        ("finals", lambda phase: len(phase.result.finals)),
        ("missed", lambda phase: phase.result.missed),
        *((f"p{mark}", partial(_final_ms, mark=mark)) for mark in _MARKS),
        ("engine alone", lambda phase: engine[phase.name]),
        *((f"p{mark} more", partial(_final_ms, mark=mark, engine_ms=engine)) for mark in _MARKS),
    ]
    wrong = sum(phase.result.wrong for phase, _ in phases)
    report_phases(
        "beside",
        "Message that completes a window to its final, ms",
        [phase for phase, _ in phases],
        columns,
        {"aim_ms": AIM_BESIDE_MS, "wrong_transcripts": wrong},
    )
    print(f"  Transcripts that differ from the script: {wrong}")


def _final_ms(phase: Phase, mark: int, engine_ms: Mapping[str, float] | None = None) -> float:
    """Return a percentile of the delays of finals in ms, less the engine's own time if it is given."""
    [delay] = percentiles_ms(phase.result.finals, (mark,))
    return delay - (engine_ms[phase.name] if engine_ms else 0.0)


def _measure_engine_seconds(cost: float) -> float:
    """Return the median time that the engine takes for a window by itself."""
    engine = ScriptedEngine(STATEFUL, cost=DecodeCost(batch_seconds=cost))
    audio = draw_script(2.0)[1][:32_000].astype(np.float32)
    window = Window(audio, RATE, 0.0, left_context=0, new_samples=len(audio), right_context=0)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        engine.decode([window])
        times.append(time.perf_counter() - began)
    return percentile(times, 50)


# --- flood: one stream beside clients that send as fast as they can ---

FLOODERS = 48
#: Seconds from the start of the flood to the measured stream.
_FLOOD_HEAD_START = 4.0


def measure_flood(*, quick: bool) -> None:
    """Compare a stream alone with one beside clients that send small messages as fast as they can."""
    seconds = 5.0 if quick else 10.0
    stream = partial(run_scripts, scripts=[StreamScript(draw_script(seconds)[1])])
    phases = []
    for kind in FLOOD_MESSAGES:
        with BenchmarkServer("--engine", "free") as server:
            phases.append(run_phase(server, f"{kind}, alone", stream))
            with run_in_background(server, "flood", FLOODERS, _FLOOD_HEAD_START + seconds + 2, kind) as flood:
                time.sleep(_FLOOD_HEAD_START)
                phases.append(run_phase(server, f"{kind}, beside {FLOODERS}", stream))
                flood.wait()
    columns: list[Column] = [
        ("finals", lambda phase: len(phase.result.finals)),
        ("p50", partial(_final_ms, mark=50)),
        ("most", partial(_final_ms, mark=100)),
    ]
    title = "From the message that completes a window to its final, ms"
    report_phases("flood", title, phases, columns, {"flooders": FLOODERS})


# --- live: how many streams Parakeet holds in real time ---

#: Numbers of streams that are tried; the first one that is not held ends the series.
_TINY_COUNTS = (1, 8, 24, 48, 72, 96)
_LARGE_COUNTS = (1, 2, 4, 6, 8, 10, 12, 15, 18, 22, 26)
#: Seconds that finals of the last third may take at p95; beyond that, the number is not held.
_MAX_FINAL_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class LiveCase:
    """A model and the configuration of its streams."""

    name: str
    folder: Path
    stream_counts: Sequence[int]
    partials: bool
    #: Seconds of left and right context.
    contexts: tuple[float, float]

    @property
    def title(self) -> str:
        """The case as a cell of a table."""
        left, right = self.contexts
        return f"{self.name}, {left:g} / {right:g}{', partials' if self.partials else ''}"


def measure_live(*, quick: bool) -> None:
    """Increase the number of real-time streams until Parakeet falls behind.

    The tiny Parakeet always runs; models of the true shapes (``python -m tools.benchmarks.shapes``) run if
    ``--shapes`` names their folder. A number of streams is held if the finals of its last third are in time:
    a server that is too slow falls behind without end. A window in which no word ends has no final.
    """
    seconds = 12.0 if quick else 24.0
    phases: list[Phase] = []
    for case in _build_live_cases(quick=quick):
        for count in case.stream_counts:
            phases.append(_run_live_case(case, count, seconds))
            if not _is_held(phases[-1], seconds):
                break
    columns: list[Column] = [
        ("finals", lambda phase: len(phase.result.finals)),
        ("without", lambda phase: phase.result.missed),
        ("p50", lambda phase: percentile(phase.result.finals, 50)),
        ("p95", lambda phase: percentile(phase.result.finals, 95)),
        ("last third p95", lambda phase: _last_third_p95(phase, seconds)),
        ("held", lambda phase: report.render_verdict(_is_held(phase, seconds))),
        ("cores used", lambda phase: phase.server_cores),
    ]
    report_phases("live", "From the message that completes a window to its final, s", phases, columns, {})


def _build_live_cases(*, quick: bool) -> list[LiveCase]:
    counts: Sequence[int] = _TINY_COUNTS[:2] if quick else _TINY_COUNTS
    cases = [LiveCase("tiny", TINY_PARAKEET_FOLDER, counts, partials, (4, 1)) for partials in (False, True)]
    shapes = os.environ.get("ECHOIC_SHAPES")
    if shapes is None:
        print("\nlive: ECHOIC_SHAPES names no folder, so models of the true shapes are left out")
        return cases
    counts = _LARGE_COUNTS[:2] if quick else _LARGE_COUNTS
    return cases + [
        LiveCase(name, Path(shapes) / name, counts, partials, contexts)
        for name in ("110m", "0.6b")
        if (Path(shapes) / name).is_dir()
        for contexts in ((4.0, 1.0), (1.0, 1.0))
        for partials in (False, True)
    ]


def _run_live_case(case: LiveCase, count: int, seconds: float) -> Phase:
    left, right = case.contexts
    options = ("--engine", "parakeet", "--folder", str(case.folder), "--threads", "1")
    with BenchmarkServer(*options, "--contexts", str(left), str(right)) as server:
        config: dict[str, object] = {"model": "parakeet-onnx", "enable_partial": case.partials}
        run_phase(server, "warm-up", _recordings_load(1, 4.0, config))
        return run_phase(server, f"{case.title}, {count} streams", _recordings_load(count, seconds, config))


def _recordings_load(streams: int, seconds: float, config: dict[str, object]) -> Load:
    scripts = [
        StreamScript(_join_recordings(seconds, number), wait=STEP * number / streams, config=config)
        for number in range(streams)
    ]
    return partial(run_scripts, scripts=scripts)


def _join_recordings(seconds: float, first: int) -> NDArray[np.float32]:
    """Return the recordings of the tiny Parakeet joined without pauses, starting with number ``first``."""
    recordings = read_recordings()
    parts: list[NDArray[np.float32]] = []
    while sum(len(part) for part in parts) < seconds * RATE:
        parts.append(recordings[(first + len(parts)) % len(recordings)][0])
    return np.concatenate(parts)[: round(seconds * RATE)]


def _last_third_p95(phase: Phase, seconds: float) -> float:
    return percentile(phase.result.finals_after(seconds * 2 / 3), 95)


def _is_held(phase: Phase, seconds: float) -> bool:
    return _last_third_p95(phase, seconds) < _MAX_FINAL_SECONDS


#: Scenarios by the name of their part.
SCENARIOS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "load": measure_load,
        "beside": measure_beside,
        "flood": measure_flood,
        "live": measure_live,
        "capacity": simulated_load.measure_capacity,
    }
)

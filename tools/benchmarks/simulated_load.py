"""Simulates real-time streams in virtual time: the most that one core holds at the true shapes.

Sessions, the fair queue and the engine are the real ones; only the clock is virtual. It advances by the core
time that the engine takes, so the result is that of a core that does nothing else. (Sockets cost 2 to 4 ms
per second of a stream, see ``overhead``.) Streams are held if 19 of 20 finals arrive within a chunk's step.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.onnx import ParakeetOnnx
from echoic.evaluate.metrics import percentile
from echoic.interfaces.engine import Hypothesis, OpenedModel, Window
from echoic.protocol.codec import decode_message
from echoic.scheduling.fair_queue import DecodeJob, FairQueue
from echoic.session.effects import CancelDecodes, Continue, Decode, Effect, OpenModel
from echoic.session.session import Session
from tools.benchmarks import report
from tools.benchmarks.report import Cell
from tools.benchmarks.true_shapes import ensure_optimized, find_shape_folders

TARGET_STREAMS = {False: 15, True: 6}
_RATE = 16_000
_MESSAGE = 0.25
#: Seconds of overlap: the length of a chunk minus the time from one final to the next.
_OVERLAP = 0.5
#: Seconds of audio that each stream has sent before the measurement.
_WARM_UP_SECONDS = 8.0
_LANES = 8
#: Seconds of left and right context, and of a chunk.
_CASES = ((4.0, 1.0, 2.0), (1.0, 1.0, 2.0), (1.0, 0.5, 2.0), (1.0, 0.5, 4.0))
_HEADER = (
    "left / right",
    "a final each",
    "partials",
    "streams held",
    "late, p95 s",
    "busy, %",
    "windows a call",
    "of offline, %",
)


@dataclass(slots=True)
class CapacityRun:
    """The delays of finals and the work of the engine in one simulation; times in seconds."""

    #: From one final of a stream to the next.
    step: float
    #: From the end of a window to its final.
    late: list[float] = field(default_factory=list)
    #: Core time of the engine.
    busy: float = 0.0
    calls: int = 0
    windows: int = 0
    seconds: float = 0.0

    @property
    def is_real_time(self) -> bool:
        """Whether finals arrive in time and the core is not overloaded."""
        return bool(self.late) and percentile(self.late, 95) <= self.step and self.busy < self.seconds


def measure_capacity(*, quick: bool) -> None:
    """Find the most streams that one core holds, for each model, context and kind of stream."""
    figures: dict[str, object] = {
        "aims": {"finals only": TARGET_STREAMS[False], "with partials": TARGET_STREAMS[True]}
    }
    for folder in find_shape_folders():
        offline = _measure_offline(ensure_optimized(folder))
        print(f"  {folder.name}: offline, 8 windows of 20 s at a time, {offline:.0f} times real time")
        rows: list[list[Cell]] = []
        for left, right, chunk in _CASES[::2] if quick else _CASES:
            engine = ParakeetOnnx(
                folder, ParakeetOptions(left, right, max_batch_size=_LANES, max_concurrency=1)
            )
            for partials in (False, True):
                count, run = _find_max_streams(
                    engine, chunk, partials=partials, seconds=6.0 if quick else 9.0
                )
                late = percentile(run.late, 95) if run.late else None
                shown = [f"{left:g} / {right:g} s", f"{run.step:g} s", "on" if partials else "off"]
                share = 100 * count / offline
                busy, size = 100 * run.busy / run.seconds, run.windows / max(run.calls, 1)
                rows.append([*shown, count, late, busy, size, share])
            engine.close()
        report.print_table(f"Streams in real time on one core, {folder.name}", _HEADER, rows)
        figures[folder.name] = [dict(zip(_HEADER, row, strict=True)) for row in rows]
        figures[f"{folder.name} offline"] = offline
    if len(figures) > 1:
        report.save_results("capacity", figures)


def _measure_offline(folder: Path) -> float:
    """Return the seconds of audio decoded per core second, eight windows of 20 s at a time."""
    engine = ParakeetOnnx(folder, ParakeetOptions(max_batch_size=_LANES, max_concurrency=1))
    audio = [_build_noise(20.0, stream) for stream in range(_LANES)]
    windows = [
        Window(one, _RATE, 0.0, left_context=0, new_samples=one.size, right_context=0, is_last=True)
        for one in audio
    ]
    engine.decode(windows[:1])
    began = time.process_time()
    engine.decode(windows)
    return 20.0 * _LANES / (time.process_time() - began)


def _find_max_streams(
    engine: ParakeetOnnx, chunk: float, *, partials: bool, seconds: float
) -> tuple[int, CapacityRun]:
    """Return the most streams that are held, to a tenth, and their run; 0 if not even one is held."""
    count, best = 4, (0, CapacityRun(chunk - _OVERLAP, seconds=1.0))
    for length in (seconds / 3, seconds / 2):  # batches grow with the number of streams, and get cheaper
        tried = simulate_streams(engine, chunk, count, length, partials=partials)
        count = max(1, round(count * length / tried.busy))
    for _ in range(6):
        run = simulate_streams(engine, chunk, count, seconds, partials=partials)
        if run.is_real_time:
            best = (count, run)
            count += max(1, count // 10)
        elif best[0] or count == 1:
            return best
        else:
            count = max(1, count - max(1, count // 10))
    return best


def simulate_streams(
    engine: ParakeetOnnx, chunk: float, streams: int, seconds: float, *, partials: bool
) -> CapacityRun:
    """Simulate streams in real time with one decoding thread."""
    config = {"type": "config", "model": "parakeet-onnx", "enable_partial": partials, "chunk_duration": chunk}
    result = CapacityRun(chunk - _OVERLAP, seconds=seconds)
    return _StreamSimulation(
        engine, streams, result, json.dumps({**config, "overlap_duration": _OVERLAP})
    ).run()


class _StreamSimulation:
    def __init__(self, engine: ParakeetOnnx, streams: int, result: CapacityRun, config: str) -> None:
        self._engine, self._queue, self._result = engine, FairQueue(), result
        self._sessions = [Session() for _ in range(streams)]
        self._queued_at: dict[DecodeJob, float] = {}
        self._now = 0.0
        offsets = np.random.default_rng(0).uniform(0.0, result.step, streams)
        whole = _WARM_UP_SECONDS + result.step + result.seconds + _MESSAGE
        self._audio = [_build_noise(whole, stream) for stream in range(streams)]
        self._positions = [round((_WARM_UP_SECONDS + offset) * _RATE) for offset in offsets]
        answer = OpenedModel(engine.name, engine.requirements)
        for stream, session in enumerate(self._sessions):
            for effect in session.receive(decode_message(config)):
                if isinstance(effect, OpenModel):
                    session.on_model_opened(answer)
            self._warm_up(session, self._audio[stream][: self._positions[stream]])
        self._upcoming = [(_MESSAGE * stream / streams, stream) for stream in range(streams)]

    def _warm_up(self, session: Session, audio: NDArray[np.float32]) -> None:
        """Push audio whose windows are answered at once and empty, so that the session has left context."""
        effects = session.receive(decode_message(audio.astype("<f4").tobytes()))
        while effects:
            asked = [effect for effect in effects if isinstance(effect, Decode)]
            again = any(isinstance(effect, Continue) for effect in effects)
            effects = [
                more for one in asked for more in session.on_decoded(one.key, Hypothesis((), (), None))
            ] + (session.continue_audio() if again else [])

    def run(self) -> CapacityRun:
        while self._upcoming or len(self._queue):
            self._push_due_audio()
            if jobs := self._queue.take_jobs(_LANES):
                self._decode_jobs(jobs)
            elif self._upcoming:
                self._now = max(self._now, self._upcoming[0][0])
        return self._result

    def _push_due_audio(self) -> None:
        """Push the audio that is due at the virtual time."""
        while self._upcoming and self._upcoming[0][0] <= self._now:
            when, stream = heapq.heappop(self._upcoming)
            first = self._positions[stream]
            self._positions[stream] += round(_MESSAGE * _RATE)
            message = self._audio[stream][first : self._positions[stream]].astype("<f4").tobytes()
            self._apply_effects(stream, self._sessions[stream].receive(decode_message(message)), when)
            if when + _MESSAGE < self._result.seconds:
                heapq.heappush(self._upcoming, (when + _MESSAGE, stream))

    def _decode_jobs(self, jobs: list[DecodeJob]) -> None:
        began = time.process_time()
        hypotheses = self._engine.decode([job.window for job in jobs])
        took = time.process_time() - began
        self._now += took
        self._result.busy += took
        self._result.calls += 1
        self._result.windows += len(jobs)
        for job, hypothesis in zip(jobs, hypotheses, strict=True):
            asked = self._queued_at.pop(job)
            if job.is_final:
                self._result.late.append(self._now - asked)
            stream = int(str(job.client))
            self._apply_effects(stream, self._sessions[stream].on_decoded(job.key, hypothesis))

    def _apply_effects(self, stream: int, effects: Iterable[Effect], when: float | None = None) -> None:
        for effect in effects:
            match effect:
                case Decode(key, window, _, final):
                    job = DecodeJob(stream, key, window, final)
                    self._queued_at[job] = self._now if when is None else when
                    self._queue.push(job)
                case CancelDecodes(keys):
                    self._queue.remove_jobs(stream, keys)
                case _:
                    pass


def _build_noise(seconds: float, stream: int) -> NDArray[np.float32]:
    """Return noise modulated like syllables, without pauses; read-only."""
    random = np.random.default_rng(stream)
    loud = np.repeat(random.uniform(0.01, 0.3, round(seconds * 10)), _RATE // 10)
    audio = (random.normal(size=loud.size) * loud).clip(-1, 1).astype(np.float32)
    audio.flags.writeable = False
    return audio

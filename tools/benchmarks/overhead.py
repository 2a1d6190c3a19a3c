"""Processor time of the server outside the recognizer, per second of audio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np

from echoic.engines.silero import SileroModel
from tools.benchmarks import report
from tools.benchmarks.clients import StreamScript, draw_script, stream_script, stream_script_bare
from tools.benchmarks.process import BenchmarkServer

AIM_MS = 1.0
#: Name, whether messages are raw samples (else base64 in JSON), keys of the config.
_CASES: tuple[tuple[str, bool, dict[str, object]], ...] = (
    ("binary", True, {}),
    ("binary, no partials", True, {"enable_partial": False}),
    ("base64 JSON", False, {}),
)
#: Add-ons of a stream; their scripted models cost next to nothing.
_ADD_ONS: tuple[tuple[str, bool, dict[str, object]], ...] = (
    ("binary, speakers", True, {"diarization": True}),
    ("binary, insights", True, {"insights": True}),
)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    streams, seconds = (20, 3.0) if quick else (50, 10.0)
    rows: list[list[report.Cell]] = []
    for reading in ("stateful",) if quick else ("stateful", "local_agreement"):
        with BenchmarkServer("--engine", "free", "--reading", reading) as server:
            asyncio.run(
                _measure_cpu_ms(server, streams, StreamScript(draw_script(2.0)[1]), stream_script)
            )  # warm
            cases = _CASES[::2] if quick else _CASES
            for name, binary, config in (*cases, *_ADD_ONS) if reading == "stateful" else cases:
                script = StreamScript(draw_script(seconds)[1], binary=binary, config=config)
                bare = asyncio.run(_measure_cpu_ms(server, streams, script, stream_script_bare))
                full = asyncio.run(_measure_cpu_ms(server, streams, script, stream_script))
                rows.append([f"{reading}, {name}", full, bare, full - bare, full / bare, full / AIM_MS])
    silero = measure_silero_ms(5.0 if quick else 30.0)
    header = ["reading, messages of 100 ms", "ms/s", "bare socket", "difference", "ratio", "of the aim"]
    report.print_table(f"Server, ms of processor time per second of audio ({streams} streams)", header, rows)
    print(f"  Beside it Silero's voice activity costs {silero:.2f} ms per second of audio.")
    names = ("case", "ms_per_audio_second", "bare_ms", "difference_ms", "ratio_to_bare", "share_of_aim")
    figures = [dict(zip(names, row, strict=True)) for row in rows]
    report.save_results(
        "overhead", {"streams": streams, "aim_ms": AIM_MS, "cases": figures, "silero_ms": silero}
    )


def measure_silero_ms(seconds: float) -> float:
    """Return the milliseconds of processor time that Silero's detector takes per second of audio."""
    voice = SileroModel().build_detector()
    noise = np.random.default_rng(1).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    frames = noise[: len(noise) // 512 * 512].reshape(-1, 512)
    voice.probabilities(frames[:30])
    began = time.process_time()
    voice.probabilities(frames)
    return 1000 * (time.process_time() - began) / seconds


async def _measure_cpu_ms(
    server: BenchmarkServer,
    streams: int,
    script: StreamScript,
    play: Callable[[str, StreamScript], Awaitable[object]],
) -> float:
    """Return the server's ms of processor time per second of audio, minus its idle use."""
    url = server.bare_url if play is stream_script_bare else server.url
    idle = await _measure_idle_cpu(server)
    scripts = [replace(script, wait=1.5 * number / streams) for number in range(streams)]
    before, began = server.cpu_seconds, time.perf_counter()
    await asyncio.gather(*(play(url, one) for one in scripts))
    used = server.cpu_seconds - before - idle * (time.perf_counter() - began)
    return 1000 * used / (streams * len(script.audio) / 16_000)


async def _measure_idle_cpu(server: BenchmarkServer) -> float:
    """Return the processor seconds per second that the server uses without streams."""
    before = server.cpu_seconds
    await asyncio.sleep(1.0)
    return server.cpu_seconds - before

"""Streams with diarization by the packaged models: labels, delays, texts.

Each stream sends a real recording from a different position in real time. The recognizer returns one word per
window and costs nothing, so delays come from diarization. The same streams without it are the comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from echoic.diarization.models import DEFAULT_DIARIZER, LIGHT_DIARIZER
from echoic.evaluate.metrics import percentile
from tools.benchmarks import report
from tools.benchmarks.clients import RATE, STEP, ClientResult, StreamScript, stream_script
from tools.benchmarks.process import BenchmarkServer
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

_STREAMS = (1, 10, 20)
#: Seconds between the positions in the recording from which two streams begin.
_APART = 7.0


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    folder = find_speech_folder()
    found = filter_by_name(load_recordings(folder), "conversation") if folder else []
    if not found:
        print("\nLabels: no recordings (ECHOIC_SPEECH)")
        return
    audio, seconds = found[0].load_audio(), 15.0 if quick else 60.0
    rows: list[list[report.Cell]] = []
    for diarizer in (DEFAULT_DIARIZER, LIGHT_DIARIZER):
        with BenchmarkServer("--engine", "free", "--speakers", diarizer) as server:
            asyncio.run(_run_streams(server, _build_scripts(audio, 1, 5.0, speakers=True)))  # load the models
            for streams in _STREAMS[:2] if quick else _STREAMS:
                bare = asyncio.run(_run_streams(server, _build_scripts(audio, streams, seconds)))[0]
                used = asyncio.run(
                    _run_streams(server, _build_scripts(audio, streams, seconds, speakers=True))
                )
                rows.append([f"{diarizer}, {streams}", *_compare_results(bare, *used)])
    header = (
        "diarizer, streams",
        "finals",
        "unlike those without",
        "without a label",
        "errors",
        "p50 ms",
        "p95",
        "most",
        "p95 without",
        "cores",
    )
    report.print_table(f"Streams of {seconds:g} s that ask who speaks", header, rows)
    report.save_results(
        "labels", {"seconds": seconds, "rows": [dict(zip(header, row, strict=True)) for row in rows]}
    )


def _build_scripts(
    audio: np.ndarray[tuple[int], np.dtype[np.float32]],
    streams: int,
    seconds: float,
    *,
    speakers: bool = False,
) -> list[StreamScript]:
    config: dict[str, object] = {"enable_partial": False, "diarization": speakers}
    script = StreamScript(audio, config=config)
    return [
        replace(
            script,
            audio=np.roll(audio, -round(number * _APART * RATE))[: round(seconds * RATE)],
            wait=STEP * number / streams,
        )
        for number in range(streams)
    ]


async def _run_streams(
    server: BenchmarkServer, scripts: Sequence[StreamScript]
) -> tuple[list[ClientResult], float]:
    """Return the results of the streams, and the processor seconds of the server per second."""
    before = server.cpu_seconds
    heard = await asyncio.gather(*(stream_script(server.url, script) for script in scripts))
    return heard, (server.cpu_seconds - before) / (len(scripts[0].audio) / RATE)


def _compare_results(
    bare: Sequence[ClientResult], heard: Sequence[ClientResult], cores: float
) -> list[report.Cell]:
    said, wanted = ([[*zip(one.finals, one.texts, strict=True)] for one in ones] for ones in (heard, bare))
    delays, alone = ([1000 * delay for one in ones for delay in one.delays] for ones in (heard, bare))
    return [
        sum(map(len, said)),
        sum(one != other for one, other in zip(said, wanted, strict=True)),
        sum(one.labels.count(None) for one in heard),
        sum(len(one.codes) for one in heard),
        percentile(delays, 50),
        percentile(delays, 95),
        max(delays),
        percentile(alone, 95),
        cores,
    ]

"""Many streams that ask who speaks, by the models that come with the package: labels, lateness, text.

Each stream is a real recording, from another place on, in real time. The recogniser says a word a window and
costs nothing, so what is late is late by the speakers. What the streams hear without them is the comparison.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import report
from benchmarks.process import Server
from benchmarks.recordings import named, recordings, speech_folder
from benchmarks.streams import RATE, STEP, Script, speak
from echoic.evaluate.scoring import percentile
from echoic.speakers.seats import DEFAULT, LIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.streams import Heard

_STREAMS = (1, 10, 20)
#: Seconds between the places of the recording from which two streams begin.
_APART = 7.0


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    folder = speech_folder()
    found = named(recordings(folder), "conversation") if folder else []
    if not found:
        print("\nLabels: no recordings (ECHOIC_SPEECH)")
        return
    audio, seconds = found[0].audio(), 15.0 if quick else 60.0
    rows: list[list[report.Cell]] = []
    for diarizer in (DEFAULT, LIGHT):
        with Server("--engine", "free", "--speakers", diarizer) as server:
            asyncio.run(_together(server, _scripts(audio, 1, 5.0, speakers=True)))  # load the models
            for streams in _STREAMS[:2] if quick else _STREAMS:
                bare = asyncio.run(_together(server, _scripts(audio, streams, seconds)))[0]
                used = asyncio.run(_together(server, _scripts(audio, streams, seconds, speakers=True)))
                rows.append([f"{diarizer}, {streams}", *_figures(bare, *used)])
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
    report.table(f"Streams of {seconds:g} s that ask who speaks", header, rows)
    report.save("labels", {"seconds": seconds, "rows": [dict(zip(header, row, strict=True)) for row in rows]})


def _scripts(
    audio: np.ndarray[tuple[int], np.dtype[np.float32]],
    streams: int,
    seconds: float,
    *,
    speakers: bool = False,
) -> list[Script]:
    config: dict[str, object] = {"enable_partial": False, "diarization": speakers}
    script = Script(audio, config=config)
    return [
        replace(
            script,
            audio=np.roll(audio, -round(number * _APART * RATE))[: round(seconds * RATE)],
            wait=STEP * number / streams,
        )
        for number in range(streams)
    ]


async def _together(server: Server, scripts: Sequence[Script]) -> tuple[list[Heard], float]:
    """Return what each stream heard, and the server's processor time for each second."""
    before = server.cpu
    heard = await asyncio.gather(*(speak(server.url, script) for script in scripts))
    return heard, (server.cpu - before) / (len(scripts[0].audio) / RATE)


def _figures(bare: Sequence[Heard], heard: Sequence[Heard], cores: float) -> list[report.Cell]:
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

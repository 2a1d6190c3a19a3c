"""Cuts the connection of a stream at random moments: its finals do not change."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.client import connect
from echoic.engines.scripted import draw_words
from echoic.protocol.frames import Final
from support.cuttable_proxy import open_proxy
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from echoic.client import Stream
    from support.cuttable_proxy import CuttableProxy

SPEECH_FOLDER = find_speech_folder()
WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
CUT_COUNT = 20
PIECE_COUNT = 200


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess(resume_seconds="20") as server:
        yield server.address


async def stream_with_cuts(
    address: str, audio: NDArray[np.float32], model: str, cuts: random.Random | None = None
) -> tuple[list[Final], str, int]:
    """Stream audio, commit halfway, cut at random moments; return finals, transcripts and connections."""
    async with (
        open_proxy(address) as (proxy, through),
        connect(f"ws://{through}", model=model) as stream,
    ):
        reading = asyncio.create_task(_read_finals(stream))
        moments = cuts.sample(range(PIECE_COUNT), CUT_COUNT) if cuts else []
        transcripts = []
        for number, piece in enumerate(np.array_split(audio, PIECE_COUNT)):
            await stream.send(piece)
            if number in moments and cuts:
                await _cut_soon(proxy, cuts)
            if number == PIECE_COUNT // 2:
                transcripts.append(await stream.commit())
        stopping = asyncio.create_task(stream.stop())
        if cuts:  # by then the connection may be closed already
            await _cut_soon(proxy, cuts, immediately=True)
        transcripts.append(await stopping)
        return await reading, " | ".join(transcripts), proxy.connection_count


async def _read_finals(stream: Stream) -> list[Final]:
    return [frame async for frame in stream if isinstance(frame, Final)]


async def _cut_soon(proxy: CuttableProxy, cuts: random.Random, *, immediately: bool = False) -> None:
    for _ in range(cuts.randrange(30)):
        await asyncio.sleep(0)
    await asyncio.sleep(cuts.choice((0.0, 0.001, 0.01, 0.05)))
    if not immediately:
        async with asyncio.timeout(WAIT_SECONDS):
            await proxy.audio_seen.wait()
    proxy.cut_connections()


@pytest.mark.parametrize("seed", range(3))
async def test_random_cuts_change_no_final(address: str, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # reproducible, not a secret
    audio = draw_words([(rng.choice(WORDS), rng.uniform(0.2, 0.6)) for _ in range(80)])
    finals, transcript, _ = await stream_with_cuts(address, audio, "scripted")
    assert len(finals) > 10
    again, same, connections = await stream_with_cuts(address, audio, "scripted", rng)
    assert again == finals
    assert same == transcript
    assert connections > CUT_COUNT


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    SPEECH_FOLDER is None, reason="no recordings: ECHOIC_SPEECH names no folder with a manifest.tsv"
)
async def test_random_cuts_change_no_final_of_the_embedded_model() -> None:
    assert SPEECH_FOLDER is not None
    (recording,) = filter_by_name(load_recordings(SPEECH_FOLDER), "librispeech_test_other__1688-142285-0001")
    rng = random.Random(0)  # noqa: S311  # a test's choices
    with ServerProcess(scripted_engine="no", preload_model="") as server:
        address = server.address
        finals, transcript, _ = await stream_with_cuts(address, recording.load_audio(), "moonshine-tiny-en")
        again, same, connections = await stream_with_cuts(
            address, recording.load_audio(), "moonshine-tiny-en", rng
        )
    assert len(finals) > 4
    assert again == finals
    assert same == transcript
    assert connections > CUT_COUNT

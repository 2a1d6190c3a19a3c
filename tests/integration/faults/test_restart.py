"""The server is killed and started again: its clients' finals and transcripts are the unbroken ones."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from echoic.client import replay as pasts
from echoic.engines.scripted import draw_words
from support.heard import stream_audio
from support.restarted import run_restartable_server
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from support.heard import ReceivedFrames
    from support.restarted import RestartableServer

FOLDER = find_speech_folder()
WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
PIECES = 120


async def broken(
    server: RestartableServer, audio: NDArray[np.float32], model: str, faults: Sequence[int] = ()
) -> ReceivedFrames:
    """Stream audio, the server killed before some of its pieces, and started after the client went on."""
    starting: list[asyncio.Task[None]] = []

    async def fault(number: int) -> None:
        if number in faults:
            await asyncio.gather(*starting)
            await asyncio.to_thread(server.kill)
            starting.append(asyncio.create_task(asyncio.to_thread(server.start)))

    heard = await stream_audio(f"ws://{server.address}", audio, fault, piece_count=PIECES, model=model)
    await asyncio.gather(*starting)
    return heard


def drawn(seed: int, words: int) -> NDArray[np.float32]:
    chance = random.Random(seed)  # a test's choices  # noqa: S311  # the same tapes each time
    return draw_words([(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(words)])


@pytest.mark.parametrize("lead", [pasts.REPLAY_LEAD, 6.0])
async def test_a_server_that_is_killed_and_started_again_changes_no_final(
    lead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        pasts, "REPLAY_LEAD", lead
    )  # short: the session is not heard again from its beginning
    audio = drawn(round(lead), 120)
    with run_restartable_server() as server:
        unbroken = await broken(server, audio, "scripted")
        again = await broken(server, audio, "scripted", (20, 70, PIECES - 2))
        assert server.start_count == 4
    assert len(unbroken.finals) > 20
    assert again.finals == unbroken.finals
    assert again.transcripts == unbroken.transcripts
    ids = [partial.segment_id for partial in again.partials]
    assert ids == sorted(ids)


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.skipif(FOLDER is None, reason="no recordings: ECHOIC_SPEECH names no folder with a manifest.tsv")
async def test_it_changes_none_of_the_embedded_models() -> None:
    assert FOLDER is not None
    (recording,) = filter_by_name(load_recordings(FOLDER), "librispeech_test_other__1688-142285-0001")
    with run_restartable_server(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        unbroken = await broken(server, recording.load_audio(), "moonshine-tiny-en")
        again = await broken(server, recording.load_audio(), "moonshine-tiny-en", (30, PIECES - 20))
    assert len(unbroken.finals) > 4
    assert again.finals == unbroken.finals
    assert again.transcripts == unbroken.transcripts

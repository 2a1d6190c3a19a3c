"""Kills and restarts the server: clients lose no word and get none twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.client import replay
from echoic.engines.scripted import draw_words
from echoic.evaluate.metrics import count_character_errors
from support.server_process import RestartableServer, run_restartable_server
from support.stream_audio import ReceivedFrames, assert_in_order, stream_audio
from tools.benchmarks.recordings import filter_by_name, find_speech_folder, load_recordings

FOLDER = find_speech_folder()
WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
PIECES = 120


async def stream_with_kills(
    server: RestartableServer, audio: NDArray[np.float32], model: str, kills: Sequence[int] = ()
) -> ReceivedFrames:
    """Stream audio; kill the server before some of its pieces, and restart it while the client goes on."""
    starting: list[asyncio.Task[None]] = []

    async def kill_server(number: int) -> None:
        if number in kills:
            await asyncio.gather(*starting)
            await asyncio.to_thread(server.kill)
            starting.append(asyncio.create_task(asyncio.to_thread(server.start)))

    received = await stream_audio(
        f"ws://{server.address}", audio, kill_server, piece_count=PIECES, model=model
    )
    await asyncio.gather(*starting)
    return received


def draw_random_words(seed: int, words: int) -> NDArray[np.float32]:
    chance = random.Random(seed)  # noqa: S311  # a test's choices
    return draw_words([(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(words)])


@pytest.mark.parametrize(
    ("lead", "kills"),
    [(replay.REPLAY_LEAD, (PIECES - 2,)), (6.0, (20, 70, PIECES - 2))],
    ids=["long", "short"],
)
async def test_a_server_restart_loses_and_repeats_no_word(
    lead: float, kills: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "REPLAY_LEAD", lead)  # 6 s: only a part of the stream is replayed
    audio = draw_random_words(round(lead), 120)
    with run_restartable_server() as server:
        unbroken = await stream_with_kills(server, audio, "scripted")
        again = await stream_with_kills(server, audio, "scripted", kills)
        assert server.start_count == 1 + len(kills)
    assert len(unbroken.finals) > 20
    assert again.text == unbroken.text
    assert again.transcripts == unbroken.transcripts
    assert_in_order(again.finals)
    ids = [partial.segment_id for partial in again.partials]
    assert ids == sorted(ids)


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.skipif(FOLDER is None, reason="no recordings: ECHOIC_SPEECH names no folder with a manifest.tsv")
async def test_the_embedded_model_loses_and_repeats_no_word() -> None:
    assert FOLDER is not None
    (recording,) = filter_by_name(load_recordings(FOLDER), "librispeech_test_other__1688-142285-0001")
    with run_restartable_server(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        unbroken = await stream_with_kills(server, recording.load_audio(), "moonshine-tiny-en")
        again = await stream_with_kills(
            server, recording.load_audio(), "moonshine-tiny-en", (30, PIECES - 20)
        )
    assert len(unbroken.finals) > 4
    assert count_character_errors(unbroken.text, again.text).rate < 3
    assert_in_order(again.finals)

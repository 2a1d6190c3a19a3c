"""An engine that raises, hangs or dies, in a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from echoic.client import ServerError
from echoic.engines.scripted import draw_words
from support.server_process import FAULTY_PROGRAM, ServerProcess, run_restartable_server
from support.stream_audio import ReceivedFrames, stream_audio

PLAIN = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def draw_distant_words(*words: str) -> NDArray[np.float32]:
    """Return audio in which each word is too far from the next to share a window."""
    return draw_words([part for word in words for part in ((word, 0.4), ("", 2.0))])


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with ServerProcess(FAULTY_PROGRAM, decode_timeout_seconds="3", worker_threads="1") as server:
        yield server


async def stream_beside(
    server: ServerProcess, *words: str
) -> tuple[ReceivedFrames, ReceivedFrames, ReceivedFrames]:
    """Stream the words, and at the same time plain ones to the same and to another model.

    Without partials, each word is in one window.
    """
    url = f"ws://{server.address}"
    return await asyncio.gather(
        stream_audio(url, draw_distant_words(*words), enable_partial=False),
        stream_audio(url, draw_distant_words(*PLAIN), enable_partial=False),
        stream_audio(url, draw_distant_words(*PLAIN), enable_partial=False, model="steady"),
    )


async def test_only_windows_that_the_engine_cannot_decode_are_lost(server: ServerProcess) -> None:
    faulty, plain, steady = await stream_beside(server, "one", "quebec", "two", "yankee", "three", "four")
    assert faulty.text == "one two three four"
    assert {error.code for error in faulty.errors} == {"decode_failed"}
    assert len(faulty.errors) <= 4  # the next window may have the bad word in its context
    gaps = [(error.detail["start"], error.detail["end"]) for error in faulty.errors]
    for begins in (2.4, 7.2):
        assert any(isinstance(s, float) and isinstance(e, float) and s <= begins < e < s + 3 for s, e in gaps)
    assert plain.finals == steady.finals
    assert plain.text == " ".join(PLAIN)
    assert (plain.errors, steady.errors) == ([], [])


@pytest.mark.parametrize("word", ["whiskey", "zulu"])
async def test_an_engine_that_hangs_or_breaks_once_costs_no_word(server: ServerProcess, word: str) -> None:
    faulty, plain, steady = await stream_beside(server, "one", word, "two", "three")
    assert faulty.text == f"one {word} two three"
    assert plain.finals == steady.finals
    assert plain.text == " ".join(PLAIN)
    assert faulty.errors == plain.errors == []


async def test_an_engine_that_hangs_again_makes_its_model_unavailable(server: ServerProcess) -> None:
    faulty, _, steady = await stream_beside(server, "one", "xray", "two")
    assert faulty.text == "one"
    assert {error.code for error in faulty.errors} == {"decode_failed"}
    assert (steady.text, steady.errors) == (" ".join(PLAIN), [])
    async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
        ready = await client.get("/readyz")
        status = (await client.get("/api/v1/audio/stream/status")).json()
    assert ready.status_code == 503
    assert "was given up" in ready.json()["waits_for"]
    assert {model["id"]: model["available"] for model in status["models"]} == {
        "scripted": False,
        "steady": True,
    }
    with pytest.raises(ServerError) as refusal:
        await stream_audio(f"ws://{server.address}", draw_distant_words("one"), model="scripted")
    assert refusal.value.code == "model_unavailable"


async def test_an_engine_that_ends_the_process_costs_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTY_ONCE", str(tmp_path / "once"))
    both = asyncio.Barrier(2)

    async def meet(number: int) -> None:
        if number == 0:  # a stream that is not there yet cannot go on
            await both.wait()

    with run_restartable_server(FAULTY_PROGRAM) as server:
        streams = asyncio.gather(
            stream_audio(f"ws://{server.address}", draw_distant_words("one", "two", "victor", "three"), meet),
            stream_audio(f"ws://{server.address}", draw_distant_words(*PLAIN), meet, model="steady"),
        )
        await asyncio.to_thread(server.wait_for_exit)
        await asyncio.to_thread(server.start)
        faulty, steady = await streams
    assert faulty.text == "one two victor three"
    assert steady.text == " ".join(PLAIN)
    assert faulty.errors == steady.errors == []

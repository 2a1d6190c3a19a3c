"""An engine that raises, hangs or dies, in a real server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import draw_words
from support.faulty import FAULTY_PROGRAM
from support.heard import stream_audio
from support.live import ServerProcess
from support.restarted import run_restartable_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from support.heard import ReceivedFrames

PLAIN = ["one", "two", "three", "four", "five", "six", "seven", "eight"]


def saying(*words: str) -> NDArray:  # type: ignore[type-arg]  # float32
    """Return audio in which each word stands far enough from the next to be in no other's window."""
    return draw_words([part for word in words for part in ((word, 0.4), ("", 2.0))])


@pytest.fixture
def place() -> Iterator[str]:
    with ServerProcess(FAULTY_PROGRAM, decode_timeout_seconds="5", worker_threads="1") as server:
        yield server.address


async def beside(place: str, *words: str) -> tuple[ReceivedFrames, ReceivedFrames, ReceivedFrames]:
    """Return what is heard of the words, and beside them of plain ones by the same and by another model.

    Without partials: each word is in one window.
    """
    url = f"ws://{place}"
    return await asyncio.gather(
        stream_audio(url, saying(*words), enable_partial=False),
        stream_audio(url, saying(*PLAIN), enable_partial=False),
        stream_audio(url, saying(*PLAIN), enable_partial=False, model="steady"),
    )


async def test_only_the_windows_are_lost_that_the_engine_cannot_decode_and_they_are_named(
    place: str,
) -> None:
    faulty, plain, steady = await beside(place, "one", "quebec", "two", "yankee", "three", "xray", "four")
    assert faulty.text == "one two three four"
    assert {error.code for error in faulty.errors} == {"decode_failed"}
    assert len(faulty.errors) <= 6  # the next window may have the bad word in its context
    gaps = [(error.detail["start"], error.detail["end"]) for error in faulty.errors]
    for begins in (2.4, 7.2, 12.0):
        assert any(isinstance(s, float) and isinstance(e, float) and s <= begins < e < s + 3 for s, e in gaps)
    assert plain.finals == steady.finals
    assert plain.text == " ".join(PLAIN)
    assert (plain.errors, steady.errors) == ([], [])


async def test_an_engine_that_gets_stuck_or_broken_is_replaced_and_no_word_is_lost(place: str) -> None:
    faulty, plain, steady = await beside(place, "one", "zulu", "two", "whiskey", "three")
    assert faulty.text == "one zulu two whiskey three"
    assert plain.finals == steady.finals
    assert plain.text == " ".join(PLAIN)
    assert faulty.errors == plain.errors == []


async def test_an_engine_that_takes_the_process_down_costs_a_restart_and_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTY_ONCE", str(tmp_path / "once"))
    both = asyncio.Barrier(2)

    async def meet(number: int) -> None:
        if number == 0:  # a stream that is not there yet cannot go on
            await both.wait()

    with run_restartable_server(FAULTY_PROGRAM) as server:
        streams = asyncio.gather(
            stream_audio(f"ws://{server.address}", saying("one", "two", "victor", "three"), meet),
            stream_audio(f"ws://{server.address}", saying(*PLAIN), meet, model="steady"),
        )
        await asyncio.to_thread(server.wait_for_exit)
        await asyncio.to_thread(server.start)
        faulty, steady = await streams
    assert faulty.text == "one two victor three"
    assert steady.text == " ".join(PLAIN)
    assert faulty.errors == steady.errors == []

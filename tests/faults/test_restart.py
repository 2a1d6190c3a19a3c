"""The server is killed and started again: its clients' finals and transcripts are the unbroken ones."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from benchmarks.recordings import named, recordings, speech_folder

from echoic.client import connect
from echoic.client import past as pasts
from echoic.engines.scripted import draw
from echoic.wire.frames import Final, Partial
from support.live import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from echoic.client import Stream

FOLDER = speech_folder()
WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
PIECES = 120


class Restarted:
    """A server that can be killed and started again at the same place."""

    def __init__(self, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._settings = settings | {"port": str(port)}
        self._server = ServerProcess(**self._settings)
        self.place = self._server.place
        self.starts = 1

    def kill(self) -> None:
        """``kill -9``."""
        self._server.process.kill()
        self._server.process.wait()

    def start(self) -> None:
        """Start another."""
        self._server.__exit__()
        self._server = ServerProcess(**self._settings)
        assert self._server.place == self.place
        self.starts += 1

    def end(self) -> None:
        """Leave nothing."""
        self._server.__exit__()


@contextmanager
def restarted(**settings: str) -> Iterator[Restarted]:
    server = Restarted(**settings)
    try:
        yield server
    finally:
        server.end()


class Heard:
    """What a client saw."""

    def __init__(self) -> None:
        self.finals: list[Final] = []
        self.partials: list[Partial] = []
        self.transcripts: list[str] = []


async def spoken(
    server: Restarted, audio: NDArray[np.float32], model: str, faults: Sequence[int] = ()
) -> Heard:
    """Stream audio with two commits, the server killed before some of its pieces."""
    heard = Heard()
    async with connect(f"ws://{server.place}", model=model) as stream:
        reading = asyncio.create_task(read(stream, heard))
        for number, piece in enumerate(np.array_split(audio, PIECES)):
            if number in faults:
                await asyncio.to_thread(server.kill)
            sending = asyncio.create_task(stream.send(piece))
            if number in faults:
                await asyncio.to_thread(server.start)
            await sending
            if number in (PIECES // 3, PIECES // 2):
                heard.transcripts.append(await stream.commit())
        heard.transcripts.append(await stream.stop())
        await reading
    return heard


async def read(stream: Stream, heard: Heard) -> None:
    async for frame in stream:
        if isinstance(frame, Final):
            heard.finals.append(frame)
        elif isinstance(frame, Partial):
            heard.partials.append(frame)


def drawn(seed: int, words: int) -> NDArray[np.float32]:
    chance = random.Random(seed)  # noqa: S311  # a test's choices
    return draw([(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(words)])


@pytest.mark.parametrize("lead", [pasts.LEAD, 6.0])
async def test_a_server_that_is_killed_and_started_again_changes_no_final(
    lead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pasts, "LEAD", lead)  # short: the session is not heard again from its beginning
    audio = drawn(round(lead), 120)
    with restarted() as server:
        unbroken = await spoken(server, audio, "scripted")
        broken = await spoken(server, audio, "scripted", (20, 70, PIECES - 2))
        assert server.starts == 4
    assert len(unbroken.finals) > 20
    assert broken.finals == unbroken.finals
    assert broken.transcripts == unbroken.transcripts
    ids = [partial.segment_id for partial in broken.partials]
    assert ids == sorted(ids)


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.skipif(FOLDER is None, reason="no recordings: ECHOIC_SPEECH names no folder with a manifest.tsv")
async def test_it_changes_none_of_the_embedded_models() -> None:
    assert FOLDER is not None
    (recording,) = named(recordings(FOLDER), "librispeech_test_other__1688-142285-0001")
    with restarted(scripted_engine="no", preload_model="moonshine-tiny-en") as server:
        unbroken = await spoken(server, recording.audio(), "moonshine-tiny-en")
        broken = await spoken(server, recording.audio(), "moonshine-tiny-en", (30, PIECES - 20))
    assert len(unbroken.finals) > 4
    assert broken.finals == unbroken.finals
    assert broken.transcripts == unbroken.transcripts

"""Tests of the JavaScript client with lost connections and sessions: no word is lost or repeated."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.client_actions import WORDS, build_actions, build_sends
from support.cuttable_proxy import CuttableProxy, open_proxy
from support.server_process import ServerProcess, run_restartable_server
from web.node import build_program_folder, find_node

if TYPE_CHECKING:
    from support.client_actions import Act

RATES = (8_000, 16_000, 44_100, 48_000)
UNLIMITED = {"max_audio_rate": "0", "max_messages_per_second": "0"}
#: Turns of speech: minutes, so that not all of a session is replayed.
TURNS = 40
PIECES = 200
CUTS = 8
#: Finals after which half of a stream is delivered.
HALF = 8
#: Milliseconds between two acts while sessions are lost.
PAUSE = 4


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    """Run a server that resumes sessions."""
    with ServerProcess(resume_seconds="20") as server:
        yield server.address


@pytest.fixture(scope="module")
def forgetful_address() -> Iterator[str]:
    """Run a server that keeps no session of a lost connection."""
    with ServerProcess(resume_sessions="0", **UNLIMITED) as server:
        yield server.address


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program_folder(tmp_path_factory.mktemp("client"))


class NodeProcess:
    """A program under Node that prints the frames of a stream as lines of JSON.

    Args:
        process: The process, its output a pipe.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.frames: list[dict[str, Any]] = []
        self._process = process
        self._frame_added = asyncio.Condition()
        self.task = asyncio.create_task(self._read_frames())

    async def _read_frames(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._frame_added:
                self.frames.append(json.loads(line))
                self._frame_added.notify_all()
        assert await self._process.wait() == 0

    async def wait(self) -> Self:
        """Wait until the process ends."""
        await self.task
        return self

    async def wait_for_finals(self, count: int) -> None:
        """Wait until as many finals were received."""
        async with self._frame_added:
            await self._frame_added.wait_for(lambda: len(self.finals) >= count)

    def select(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of a type."""
        return [frame for frame in self.frames if frame["type"] == kind]

    def select_texts(self, kind: str) -> list[str]:
        """Return the texts of frames of a type."""
        return [frame.get("text", "") for frame in self.select(kind)]

    @property
    def finals(self) -> list[dict[str, Any]]:
        """The finals without their ``seq``."""
        finals = self.select("final")
        return [{key: value for key, value in final.items() if key != "seq"} for final in finals]

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(self.select_texts("final"))

    @property
    def states(self) -> list[str]:
        """The states of the connection."""
        return [frame["state"] for frame in self.select("connection")]


async def start_node(programs: Path, *arguments: str) -> NodeProcess:
    process = await asyncio.create_subprocess_exec(
        find_node(), *arguments, cwd=programs, stdout=asyncio.subprocess.PIPE
    )
    return NodeProcess(process)


async def start_acts(
    programs: Path, address: str, acts: list[Act], pause: int = 0, **config: object
) -> NodeProcess:
    """Start a process that runs acts, with a pause of milliseconds between them."""
    folder = programs / "acts"
    folder.mkdir(exist_ok=True)
    audio = [what for kind, what in acts if kind == "send"]
    np.concatenate(audio).astype("<f4").tofile(folder / "audio.f32")
    ranges = pairwise(np.cumsum([0, *map(len, audio)]).tolist())
    acts_json = [(kind, next(ranges) if kind == "send" else what) for kind, what in acts]
    job = {"acts": acts_json, "pause": pause, "config": {"model": "scripted", **config}}
    (folder / "acts.json").write_text(json.dumps(job))
    return await start_node(programs, "run_acts.js", f"ws://{address}{STREAM_PATH}", str(folder))


async def start_words(
    programs: Path, address: str, words: list[tuple[str, float]], pause: int
) -> NodeProcess:
    """Start a process that streams words, with a pause of milliseconds between messages."""
    audio = programs / "words.f32"
    audio.write_bytes(draw_words(words).tobytes())
    job = json.dumps({"model": "scripted", "pieces": PIECES, "pause": pause})
    return await start_node(programs, "stream_words.js", f"ws://{address}{STREAM_PATH}", str(audio), job)


def draw_random_words(rng: random.Random, count: int) -> list[tuple[str, float]]:
    return [(rng.choice(WORDS), rng.uniform(0.2, 0.6)) for _ in range(count)]


def assert_same_words(broken: NodeProcess, unbroken: NodeProcess) -> None:
    """Assert that no word is lost or repeated, and that ids and times go up."""
    assert broken.text == unbroken.text
    for kind in ("answer", "full_transcript", "error", "warning", "status"):
        assert broken.select_texts(kind) == unbroken.select_texts(kind)
    for before, after in pairwise(broken.finals):
        if after["segment_id"] != 1:  # after a reset
            assert after["segment_id"] == before["segment_id"] + 1
            assert before["segment_end"] <= after["segment_start"] < after["segment_end"]


async def cut_repeatedly(proxy: CuttableProxy, process: NodeProcess, rng: random.Random) -> None:
    """Cut the connection several times, each time after it carried audio."""
    for _ in range(CUTS):
        carried = asyncio.create_task(proxy.audio_seen.wait())
        await asyncio.wait([carried, process.task], return_when=asyncio.FIRST_COMPLETED)
        carried.cancel()
        await asyncio.sleep(rng.choice((0.0, 0.01, 0.05)))
        proxy.cut_connections()


@pytest.mark.parametrize("seed", range(2))
async def test_resumed_sessions_give_the_same_finals(programs: Path, server_address: str, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  # a test's choices
    words = draw_random_words(rng, 60)
    unbroken = await (await start_words(programs, server_address, words, 0)).wait()
    async with open_proxy(server_address) as (proxy, through):
        broken = await start_words(programs, through, words, 10)
        await cut_repeatedly(proxy, broken, rng)
        await broken.wait()
    assert proxy.connection_count > 2
    assert broken.finals == unbroken.finals
    assert len(broken.finals) > HALF
    assert broken.select_texts("full_transcript") == unbroken.select_texts("full_transcript")
    assert set(broken.states) == {"lost", "resumed"}


@pytest.mark.parametrize("rates", [(16_000,), RATES], ids=["one rate", "many rates"])
@pytest.mark.parametrize("seed", range(2))
async def test_new_sessions_lose_and_repeat_no_word(
    programs: Path, forgetful_address: str, seed: int, rates: tuple[int, ...]
) -> None:
    rng = random.Random(seed)  # noqa: S311  # a test's choices
    acts = build_actions(rng, rates, TURNS)
    config: dict[str, Any] = {"audio_format": rng.choice(("f32le", "s16le"))}
    unbroken = await (await start_acts(programs, forgetful_address, acts, **config)).wait()
    places = sorted(rng.sample(range(1, len(unbroken.finals)), 5))
    async with open_proxy(forgetful_address) as (proxy, through):
        broken = await start_acts(programs, through, acts, PAUSE, **config)
        for finals in places:
            await broken.wait_for_finals(finals)
            proxy.cut_connections()
        await broken.wait()
    assert set(broken.states) == {"lost", "anew"}
    assert len(unbroken.finals) > 40
    assert_same_words(broken, unbroken)


@pytest.mark.parametrize("places", [(1,), (30, 60), (80,)], ids=str)
async def test_a_server_restart_loses_and_repeats_no_word(programs: Path, places: tuple[int, ...]) -> None:
    rng = random.Random(places[0])  # noqa: S311  # a test's choices
    acts = [act for act in build_actions(rng, (16_000,), TURNS) if act[0] != "reset"]
    with run_restartable_server(**UNLIMITED) as server:
        unbroken = await (await start_acts(programs, server.address, acts)).wait()
        broken = await start_acts(programs, server.address, acts, PAUSE)
        for finals in places:
            await broken.wait_for_finals(finals)
            server.kill()
            server.start()
        await broken.wait()
    assert broken.states == ["lost", "anew"] * len(places)
    assert len(unbroken.finals) > max(places)
    assert_same_words(broken, unbroken)


async def test_a_session_is_replayed_after_a_long_silence(programs: Path, forgetful_address: str) -> None:
    rng, rate = random.Random(0), 16_000  # noqa: S311  # a test's choices
    first, more = (draw_words(draw_random_words(rng, count), rate=rate) for count in (20, 30))
    pause, silence = (build_sends(rng, np.zeros(int(rate * seconds)), rate) for seconds in (2.3, 190.0))
    acts: list[Act] = [*build_sends(rng, first, rate), *pause, ("commit", None), *silence, ("ping", None)]
    acts += build_sends(rng, more, rate)
    unbroken = await (await start_acts(programs, forgetful_address, acts)).wait()
    finals_before = sum(1 for one in unbroken.finals if one["segment_end"] < 100)
    async with open_proxy(forgetful_address) as (proxy, through):
        broken = await start_acts(programs, through, acts, PAUSE)
        await broken.wait_for_finals(finals_before + 4)
        proxy.cut_connections()
        await broken.wait()
    assert broken.states == ["lost", "anew"]
    assert_same_words(broken, unbroken)


async def test_a_session_continues_after_a_server_stop(programs: Path) -> None:
    words = draw_random_words(random.Random(7), 60)  # noqa: S311  # a test's choices
    with run_restartable_server() as server:
        process = await start_words(programs, server.address, words, 20)
        await process.wait_for_finals(HALF)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await process.wait()
    assert process.states == ["lost", "anew"]
    finals = process.finals
    assert process.select("connection")[1]["cut"] in {final["segment_end"] for final in finals}
    spoken, received = [word for word, _ in words], process.text.split()
    blocks = SequenceMatcher(None, spoken, received, autojunk=False).get_matching_blocks()
    assert sum(block.size for block in blocks) >= len(spoken) - 1, "one word may be cut in two"
    assert len(received) <= len(spoken) + 1
    assert " ".join(process.select_texts("full_transcript")).split() == received
    assert [one["segment_id"] for one in finals] == list(range(1, len(finals) + 1))
    assert [one["segment_start"] for one in finals] == sorted(one["segment_start"] for one in finals)

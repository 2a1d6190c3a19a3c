"""The page's client where sessions are lost: no word is, nor told twice."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from echoic.engines.scripted import draw_words
from support.acts import WORDS, build_acts, build_sends
from support.cutting import open_proxy
from support.server_process import STREAM_PATH, ServerProcess, run_restartable_server
from web.node import node, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.acts import Act

RATES = (8_000, 16_000, 44_100, 48_000)
FREE = {"max_audio_rate": "0", "max_messages_per_second": "0"}
#: Turns of speech: minutes of it, so that a session is not heard again from its beginning.
LONG = 40
#: Milliseconds between two acts, while sessions are lost.
PAUSE = 4


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(resume_sessions="0", **FREE) as server:
        yield server.address


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workshop(tmp_path_factory.mktemp("anew"))


@dataclass
class Acting:
    """A program that does acts in a process of its own, and what it was told."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    told: asyncio.Condition = field(default_factory=asyncio.Condition)
    over: asyncio.Task[None] | None = None

    async def begin(
        self, programs: Path, place: str, acts: list[Act], pause: int = 0, **config: object
    ) -> Self:
        """Start it; ``pause``: milliseconds between its acts; further keys of the config."""
        folder = programs / "acts"
        folder.mkdir(exist_ok=True)
        audio = [what for kind, what in acts if kind == "send"]
        np.concatenate(audio).astype("<f4").tofile(folder / "audio.f32")
        ends = np.cumsum([0, *map(len, audio)]).tolist()
        ranges = pairwise(ends)
        told = [(kind, next(ranges) if kind == "send" else what) for kind, what in acts]
        wishes = {"acts": told, "pause": pause, "config": {"model": "scripted", **config}}
        (folder / "acts.json").write_text(json.dumps(wishes))
        process = await asyncio.create_subprocess_exec(
            node(),
            "act.js",
            f"ws://{place}{STREAM_PATH}",
            str(folder),
            cwd=programs,
            stdout=asyncio.subprocess.PIPE,
        )
        self.over = asyncio.create_task(self._read(process))
        return self

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            async with self.told:
                self.frames.append(json.loads(line))
                self.told.notify_all()
        assert await process.wait() == 0

    async def ended(self) -> Self:
        """Wait until it is over."""
        assert self.over is not None
        await self.over
        return self

    async def heard(self, finals: int) -> None:
        """Wait until it was told of so many finals."""
        async with self.told:
            await self.told.wait_for(lambda: len(self.finals) >= finals)

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [{key: value for key, value in frame.items() if key != "seq"} for frame in self.of("final")]

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(final["text"] for final in self.finals)

    @property
    def answers(self) -> list[str]:
        return [frame["text"] for frame in self.of("answer")]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of a type."""
        return [frame for frame in self.frames if frame["type"] == kind]


def assert_alike(broken: Acting, unbroken: Acting) -> None:
    """Assert that no word is lost or repeated, and that ids and times go up."""
    assert broken.text == unbroken.text
    assert broken.answers == unbroken.answers
    for kind in ("full_transcript", "error", "warning", "status"):
        assert [one.get("text") for one in broken.of(kind)] == [one.get("text") for one in unbroken.of(kind)]
    for before, after in pairwise(broken.finals):
        if after["segment_id"] != 1:  # after a reset
            assert after["segment_id"] == before["segment_id"] + 1
            assert before["segment_end"] <= after["segment_start"] < after["segment_end"]


@pytest.mark.parametrize("rates", [(16_000,), RATES], ids=["one rate", "many rates"])
@pytest.mark.parametrize("seed", range(2))
async def test_new_beginnings_at_random_moments_change_nothing(
    programs: Path, place: str, seed: int, rates: tuple[int, ...]
) -> None:
    chance = random.Random(seed)  # a test's choices  # noqa: S311  # the same tapes each time
    acts = build_acts(chance, rates, LONG)
    form: dict[str, Any] = {"audio_format": chance.choice(("f32le", "s16le"))}
    unbroken = await (await Acting().begin(programs, place, acts, **form)).ended()
    places = sorted(chance.sample(range(1, len(unbroken.finals)), 5))
    async with open_proxy(place) as (proxy, through):
        acting = await Acting().begin(programs, through, acts, PAUSE, **form)
        for finals in places:
            await acting.heard(finals)
            proxy.cut_connections()
        broken = await acting.ended()
    assert {one["state"] for one in broken.of("connection")} == {"lost", "anew"}
    assert len(unbroken.finals) > 40
    assert_alike(broken, unbroken)


@pytest.mark.parametrize("places", [(1,), (30, 60), (80,)], ids=str)
async def test_a_server_that_is_killed_and_started_again_costs_no_word(
    programs: Path, places: tuple[int, ...]
) -> None:
    chance = random.Random(places[0])  # noqa: S311  # a test's choices
    acts = [act for act in build_acts(chance, (16_000,), LONG) if act[0] != "reset"]
    with run_restartable_server(**FREE) as server:
        unbroken = await (await Acting().begin(programs, server.address, acts)).ended()
        acting = await Acting().begin(programs, server.address, acts, PAUSE)
        for finals in places:
            await acting.heard(finals)
            server.kill()
            server.start()
        broken = await acting.ended()
    assert [one["state"] for one in broken.of("connection")] == ["lost", "anew"] * len(places)
    assert len(unbroken.finals) > max(places)
    assert_alike(broken, unbroken)


async def test_windows_after_a_commit_and_a_long_silence_fall_where_they_fell(
    programs: Path, place: str
) -> None:
    chance, rate = random.Random(0), 16_000  # noqa: S311  # a test's choices
    first, more = (
        draw_words([(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(count)], rate=rate)
        for count in (20, 30)
    )
    pause, silence = (build_sends(chance, np.zeros(int(rate * seconds)), rate) for seconds in (2.3, 190.0))
    acts: list[Act] = [*build_sends(chance, first, rate), *pause, ("commit", None), *silence, ("ping", None)]
    acts += build_sends(chance, more, rate)
    unbroken = await (await Acting().begin(programs, place, acts)).ended()
    before = sum(1 for one in unbroken.finals if one["segment_end"] < 100)
    async with open_proxy(place) as (proxy, through):
        acting = await Acting().begin(programs, through, acts, PAUSE)
        await acting.heard(before + 4)
        proxy.cut_connections()
        broken = await acting.ended()
    assert [one["state"] for one in broken.of("connection")] == ["lost", "anew"]
    assert_alike(broken, unbroken)

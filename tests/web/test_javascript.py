"""The page's client and what it makes of frames, under Node."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.scripted import draw_words
from echoic.export.formats import render
from support.cutting import open_proxy
from support.finals import any_finals, build_final, build_late_finals, build_talk_finals
from support.server_process import STREAM_PATH, ServerProcess, run_restartable_server
from web.node import MODULES, WEB, node, workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from echoic.export.formats import TranscriptFormat
    from echoic.protocol.frames import Final
    from support.cutting import CuttableProxy

WORDS = ("alpha", "bravo", "charlie", "one", "two", "three", "four", "five", "six", "seven")
PIECES = 200
CUTS = 8
#: Finals after which a stream is taken to be in its middle.
HALF = 8


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess(resume_seconds="20") as server:
        yield server.address


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workshop(tmp_path_factory.mktemp("web"))


def run(programs: Path, *arguments: str, **environment: str) -> str:
    """Run Node and return what it prints."""
    done = subprocess.run(
        [node(), *arguments],
        cwd=programs,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_a_talk_is_made_of_is_told_apart(programs: Path) -> None:
    assert "# fail 0" in run(programs, "--test", "--test-reporter=tap", "transcript.test.js")


def test_the_client_stands_servers_that_make_no_sense(programs: Path) -> None:
    assert "# fail 0" in run(programs, "--test", "--test-reporter=tap", "hostile.test.js")


def test_the_client_does_what_it_says(programs: Path, place: str, tmp_path: Path) -> None:
    audio = tmp_path / "audio.f32"
    audio.write_bytes(draw_words(["one", "two", "three", "four"]).tobytes())
    with ServerProcess(api_key="right") as guarded:
        told = run(
            programs,
            "--test",
            "--test-reporter=tap",
            "client.test.js",
            PLACE=place,
            GUARDED=guarded.address,
            AUDIO=str(audio),
        )
    assert "# fail 0" in told


def test_every_type_in_the_modules_holds(programs: Path) -> None:
    compiler = MODULES / ".bin" / "tsc"
    if not compiler.exists():
        pytest.skip("no tsc: npm installs it in tests/integration/clients")
    checks = [
        "--checkJs",
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--types",
        "",
    ]
    modules = [file.name for file in WEB.glob("*.js") if file.name != "recorder.js"]  # a world of its own
    run(programs, str(compiler), *checks, *modules)


# ---- subtitles


def compare(programs: Path, talks: list[list[Final]]) -> None:
    """Assert that the page saves what the program saves."""
    (programs / "talks.json").write_bytes(msgspec.json.encode(talks))
    told = json.loads(run(programs, "render.js", "talks.json"))
    forms: tuple[TranscriptFormat, ...] = ("txt", "srt", "vtt")
    for finals, files in zip(talks, told, strict=True):
        assert {form: files[form] for form in forms} == {form: render(finals, form) for form in forms}
        assert json.loads(files["json"]) == json.loads(render(finals, "json"))


def test_the_page_saves_what_transcribe_writes(programs: Path) -> None:
    long = [build_final("word " * 30, i * 8.0, i * 8.0 + 7.5, speaker="SPEAKER_00") for i in range(4)]
    emoji = [build_final("😀 " * 40 + "東京" * 60, 0, 6)]
    named = [build_final("a --> b <i> & c\n\n2", 0, 1, speaker="A <i> & B\n\n--> C")]
    pairs = (
        ("We waited", 0.0),
        ("the", 2.5),
        ("boat came.", 4.0),
        ("Yes.", 9.0),
        ("No", 9.5),
        ("way.", 10.9),
    )
    stray = [build_final(text, start, start + 0.3 * len(text.split())) for text, start in pairs]
    spread = [build_final("word " * 12 + "end.", i * 8.0, i * 8.0 + 7.5) for i in range(20)]
    late = [build_late_finals(0, None, None, last) for last in (0, 1)]
    many = [build_late_finals(0, *[None] * count, 0) for count in (26, 27, 28, 29, 30, 31, 60)]
    paused = [build_late_finals(0, None, 0, pause=pause) for pause in (1.0, 2.0, 3.0)]
    titles = [
        build_final("Mr. J. Smith vs. Dr. No. No. 5 waits. No.", i * 3.0, i * 3.0 + 3) for i in range(16)
    ]
    full = "Nineteen travellers waited at the harbour for a boat that never came to them a day now."
    fast = [[build_final(full, 0, seconds), build_final("Then.", 9, 10)] for seconds in (0.5, 1.0, 3.0)]
    compare(
        programs,
        [build_talk_finals(), long, emoji, [], named, stray, spread, titles, *late, *many, *paused, *fast],
    )


@settings(max_examples=10, deadline=None)
@given(talks=st.lists(any_finals, min_size=1, max_size=6))
def test_it_does_whatever_was_heard(programs: Path, talks: list[list[Final]]) -> None:
    compare(programs, talks)


# ---- connections that are cut


class Saying:
    """A program that says words to a place, in a process of its own, and what it was told."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        #: Set when so much was told that the middle is reached.
        self.halfway = asyncio.Event()
        self.over: asyncio.Task[None] | None = None

    async def begin(self, programs: Path, place: str, words: list[tuple[str, float]], pause: int) -> Self:
        """Start it; ``pause``: milliseconds between its messages."""
        audio = programs / "words.f32"
        audio.write_bytes(draw_words(words).tobytes())
        wishes = json.dumps({"model": "scripted", "pieces": PIECES, "pause": pause})
        process = await asyncio.create_subprocess_exec(
            node(), "say.js", f"ws://{place}{STREAM_PATH}", str(audio), wishes,
            cwd=programs, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.over = asyncio.create_task(self._read(process))
        return self

    async def told(self) -> list[dict[str, Any]]:
        """Return the frames when it is over."""
        assert self.over is not None
        await self.over
        return self.frames

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.frames.append(json.loads(line))
            if len(finals_of(self.frames)) > HALF:
                self.halfway.set()
        assert await process.wait() == 0


def finals_of(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in frame.items() if k != "seq"} for frame in frames if frame["type"] == "final"]


def texts(frames: list[dict[str, Any]], kind: str) -> list[str]:
    return [frame["text"] for frame in frames if frame["type"] == kind]


def chosen(chance: random.Random, count: int) -> list[tuple[str, float]]:
    return [(chance.choice(WORDS), chance.uniform(0.2, 0.6)) for _ in range(count)]


async def cut(proxy: CuttableProxy, saying: Saying, chance: random.Random) -> None:
    """Cut the connection as soon as audio went over it, again and again."""
    assert saying.over is not None
    for _ in range(CUTS):
        opened = asyncio.create_task(proxy.audio_seen.wait())
        await asyncio.wait([opened, saying.over], return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        await asyncio.sleep(chance.choice((0.0, 0.01, 0.05)))
        proxy.cut_connections()


@pytest.mark.parametrize("seed", range(2))
async def test_cuts_change_no_final(programs: Path, place: str, seed: int) -> None:
    chance = random.Random(seed)  # a test's choices  # noqa: S311  # the same tapes each time
    words = chosen(chance, 60)
    expected = await (await Saying().begin(programs, place, words, 0)).told()
    async with open_proxy(place) as (proxy, through):
        saying = await Saying().begin(programs, through, words, 10)
        await cut(proxy, saying, chance)
        frames = await saying.told()
    assert proxy.connection_count > 2
    assert finals_of(frames) == finals_of(expected)
    assert len(finals_of(frames)) > HALF
    assert texts(frames, "full_transcript") == texts(expected, "full_transcript")
    assert {frame["state"] for frame in frames if frame["type"] == "connection"} == {"lost", "resumed"}


async def test_a_server_that_stopped_in_peace_is_begun_with_anew(programs: Path) -> None:
    words = chosen(random.Random(7), 60)  # noqa: S311  # a test's choices
    with run_restartable_server() as server:
        saying = await Saying().begin(programs, server.address, words, 20)
        await saying.halfway.wait()
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        frames = await saying.told()
    lost, anew = (frame for frame in frames if frame["type"] == "connection")
    assert (lost["state"], anew["state"]) == ("lost", "anew")
    assert anew["cut"] in {frame["segment_end"] for frame in finals_of(frames)}
    said = " ".join(texts(frames, "final")).split()
    spoken = [word for word, _ in words]
    matched = sum(
        block.size for block in SequenceMatcher(None, spoken, said, autojunk=False).get_matching_blocks()
    )
    assert matched >= len(spoken) - 1, "one word may be cut in two"
    assert len(said) <= len(spoken) + 1
    assert " ".join(texts(frames, "full_transcript")).split() == said
    finals = finals_of(frames)
    assert [one["segment_id"] for one in finals] == list(range(1, len(finals) + 1))
    assert [one["segment_start"] for one in finals] == sorted(one["segment_start"] for one in finals)

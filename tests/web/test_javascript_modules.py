"""Tests of the JavaScript modules under Node: client, transcript, types, saved files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoic.engines.scripted import draw_words
from echoic.export.formats import TranscriptFormat, render
from echoic.protocol.frames import Final
from support.finals import any_finals, build_final, build_late_finals, build_talk_finals
from support.server_process import ServerProcess
from web.node import MODULES, WEB, build_program_folder, find_node


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess(resume_seconds="20") as server:
        yield server.address


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program_folder(tmp_path_factory.mktemp("web"))


def run(programs: Path, *arguments: str, **environment: str) -> str:
    """Run Node and return its output."""
    done = subprocess.run(
        [find_node(), *arguments],
        cwd=programs,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_transcript_modules(programs: Path) -> None:
    assert "# fail 0" in run(programs, "--test", "--test-reporter=tap", "transcript.test.js")


def test_the_client_with_bad_servers(programs: Path) -> None:
    assert "# fail 0" in run(programs, "--test", "--test-reporter=tap", "bad_server.test.js")


def test_the_client_with_a_server(programs: Path, server_address: str, tmp_path: Path) -> None:
    audio = tmp_path / "audio.f32"
    audio.write_bytes(draw_words(["one", "two", "three", "four"]).tobytes())
    with ServerProcess(api_key="right") as guarded:
        output = run(
            programs,
            "--test",
            "--test-reporter=tap",
            "client.test.js",
            ADDRESS=server_address,
            KEYED_ADDRESS=guarded.address,
            AUDIO=str(audio),
        )
    assert "# fail 0" in output


def test_the_modules_have_no_type_errors(programs: Path) -> None:
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
    modules = [file.name for file in WEB.glob("*.js") if file.name != "recorder.js"]
    run(programs, str(compiler), *checks, *modules)


# ---- subtitles


def assert_same_files(programs: Path, talks: list[list[Final]]) -> None:
    """Assert that JavaScript and Python render the same files."""
    (programs / "talks.json").write_bytes(msgspec.json.encode(talks))
    rendered = json.loads(run(programs, "render.js", "talks.json"))
    formats: tuple[TranscriptFormat, ...] = ("txt", "srt", "vtt")
    for finals, files in zip(talks, rendered, strict=True):
        assert {form: files[form] for form in formats} == {form: render(finals, form) for form in formats}
        assert json.loads(files["json"]) == json.loads(render(finals, "json"))


def test_javascript_and_python_render_the_same_files(programs: Path) -> None:
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
    assert_same_files(
        programs,
        [build_talk_finals(), long, emoji, [], named, stray, spread, titles, *late, *many, *paused, *fast],
    )


@settings(max_examples=10, deadline=None)
@given(talks=st.lists(any_finals, min_size=1, max_size=6))
def test_any_finals_render_the_same_files(programs: Path, talks: list[list[Final]]) -> None:
    assert_same_files(programs, talks)


# ---- connections that are cut

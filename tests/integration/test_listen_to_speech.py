"""``echoic listen`` on real speech: packaged model, real server, diarization, insights and saved files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.media import read_audio
from support.server_process import ServerProcess
from support.terminal import build_environment
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDINGS_FOLDER = Path(__file__).parents[1] / "fixtures" / "commands"
RATE = 16_000
_CUE = re.compile(
    r"\d+\n(\d\d:\d\d:\d\d,\d{3}) --> (\d\d:\d\d:\d\d,\d{3})\n(?:SPEAKER_\d\d: )?(.+)", re.DOTALL
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess(preload_model="moonshine-tiny-en") as server:
        yield server.address


@pytest.fixture(scope="module")
def audio() -> bytes:
    """Four commands, half a second apart, as 16-bit samples."""
    pause = np.zeros(RATE // 2, np.float32)
    pieces = [
        piece
        for file in sorted(RECORDINGS_FOLDER.glob("*.flac"))
        for piece in (*read_audio(file, RATE), pause)
    ]
    return (np.concatenate(pieces) * 32767).astype("<i2").tobytes()


def run_listen(address: str, audio: bytes, file: Path) -> list[str]:
    """Run ``echoic listen`` with all add-ons, saving to ``file``; return the printed lines."""
    options = ("-", "--url", address, "--diarize", "--insights", "--save", str(file))
    done = subprocess.run(
        [sys.executable, "-m", "echoic.cli", "listen", *options],
        input=audio,
        capture_output=True,
        env=build_environment(),
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr.decode().splitlines()[-1]) == (0, f"echoic: Saved to {file}.")
    return done.stdout.decode().splitlines()


def get_words(lines: list[str]) -> list[str]:
    """Return the words of the lines with a speaker."""
    return [word for line in lines if line.startswith("SPEAKER_") for word in line.partition(": ")[2].split()]


def test_subtitles_hold_words_and_speakers_in_order(address: str, audio: bytes, tmp_path: Path) -> None:
    file = tmp_path / "talk.srt"
    lines = run_listen(address, audio, file)
    assert any("timer" in word for word in get_words(lines))
    assert "Summary" in lines
    cues = [_CUE.fullmatch(cue) for cue in file.read_text("utf-8").rstrip("\n").split("\n\n")]
    assert all(cues)
    found = [cue.groups() for cue in cues if cue]
    assert "\nSPEAKER_00: " in file.read_text("utf-8")
    assert [word for *_, text in found for word in text.split()] == get_words(lines)
    times = [time for start, end, _ in found for time in (start, end)]
    assert times == sorted(times)


def test_json_holds_the_insights_too(address: str, audio: bytes, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    lines = run_listen(address, audio, file)
    body = json.loads(file.read_text("utf-8"))
    assert body["text"].split() == get_words(lines)
    assert all(segment["speaker"].startswith("SPEAKER_") for segment in body["segments"])
    assert body["insights"][-1]["stage"] == "final"
    assert all(f"- {sentence}" in lines for sentence in body["insights"][-1]["summary"])
    assert body["segments"][-1]["end"] == pytest.approx(len(audio) / 2 / RATE, abs=1e-3)

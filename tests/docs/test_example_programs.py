"""Runs the programs in ``examples`` with a real server."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from support.programs import ROOT, run_program
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FAKE_SOUNDDEVICE = ROOT / "tests" / "support" / "fake_sounddevice"
RATE = 16_000


#: Settings of a server with the tiny Parakeet.
TINY_PARAKEET_SETTINGS = {
    "scripted_engine": "no",
    "parakeet_onnx_dir": str(TINY_PARAKEET_FOLDER),
    "preload_model": "parakeet",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerProcess(**TINY_PARAKEET_SETTINGS) as server:
        yield server.address


def find_example(name: str) -> Path:
    return ROOT / "examples" / f"{name}.py"


def write_wave(file: Path, channels: Sequence[NDArray[np.float32]]) -> Path:
    """Write channels as a 16-bit WAV file; the shorter ones are silent at their end."""
    samples = np.zeros((max(map(len, channels)), len(channels)), np.float32)
    for number, channel in enumerate(channels):
        samples[: len(channel), number] = channel
    with wave.open(str(file), "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return file


def list_words(lines: str) -> list[str]:
    """Return the words of captions, without the times."""
    return re.sub(r"^ *[\d.]+ s  ", "", lines, flags=re.MULTILINE).split()


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_its_usage_for_wrong_arguments(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [] if program.stem == "batch" else ["a"] * 4
    monkeypatch.setattr(sys, "argv", [str(program), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program), run_name="__main__")
    output, errors = capsys.readouterr()
    assert (ended.value.code, output) == (2, "")
    assert errors.startswith(f"Usage: python {program}")


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_reports_a_missing_server_in_a_line(program: Path, tmp_path: Path) -> None:
    no_server = "ws://127.0.0.1:1"
    file = str(write_wave(tmp_path / "call.wav", [np.zeros(RATE, np.float32)] * 2))
    arguments = {"batch": [file], "microphone": [no_server]}.get(program.stem, [file, no_server])
    done = run_program(program, *arguments, ECHOIC_URL=no_server)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "No echoic server answers at " in done.stderr


@pytest.mark.parametrize("name", ["captions", "blocking"])
def test_captions_of_a_file_have_its_words(address: str, tmp_path: Path, name: str) -> None:
    samples, text = read_recordings()[3]
    done = run_program(find_example(name), str(write_wave(tmp_path / "talk.wav", [samples])), address)
    assert (done.returncode, done.stderr) == (0, "")
    assert list_words(strip_partials(done.stdout)) == text.split()


def test_the_agent_answers_each_turn(address: str, tmp_path: Path) -> None:
    recordings = [read_recordings()[number] for number in (3, 4)]
    pause = np.zeros(RATE, np.float32)
    talk = np.concatenate([part for samples, _ in recordings for part in (samples, pause)])
    done = run_program(find_example("voice_agent"), str(write_wave(tmp_path / "talk.wav", [talk])), address)
    assert (done.returncode, done.stderr) == (0, "")
    turn = r"^user:  (.*)\nagent: You said (\d+) words\.  \[\d+ ms pause \+ \d+ ms\]$"
    turns = re.findall(turn, done.stdout, re.MULTILINE)
    assert len(turns) >= 2
    assert " ".join(text for text, _ in turns) == " ".join(text for _, text in recordings)


def test_a_call_is_merged_in_the_order_of_speech(address: str, tmp_path: Path) -> None:
    (first, asked), (second, answered) = read_recordings()[3], read_recordings()[4]
    silence = np.zeros(len(first) + RATE, np.float32)
    file = write_wave(tmp_path / "call.wav", [first, np.concatenate([silence, second])])
    done = run_program(find_example("call"), str(file), address)
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.findall(r"^ *[\d.]+ s  (\w+): (.*)$", done.stdout, re.MULTILINE)
    sides = [side for side, _ in lines]
    assert sides == sorted(sides, reverse=True)
    for side, text in (("Caller", asked), ("Agent", answered)):
        assert " ".join(part for name, part in lines if name == side) == text


def test_a_file_that_is_no_call_is_reported_in_a_line(address: str, tmp_path: Path) -> None:
    mono, none = write_wave(tmp_path / "mono.wav", [np.zeros(RATE, np.float32)]), tmp_path / "none.wav"
    none.touch()
    for file in (mono, none):
        done = run_program(find_example("call"), str(file), address)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"{file} is not a 16-bit WAV file with two channels.\n"


def test_a_broken_file_does_not_stop_a_batch(address: str, tmp_path: Path) -> None:
    texts = [read_recordings()[number][1] for number in range(4)]
    files = [write_wave(tmp_path / f"{number}.wav", [read_recordings()[number][0]]) for number in range(4)]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    done = run_program(find_example("batch"), *map(str, (broken, *files)), ECHOIC_URL=address)
    assert done.returncode == 1
    assert done.stderr == f"broken.wav: {broken} is not an audio or video file.\n"
    assert [Path(f"{file}.txt").read_text("utf-8").strip() for file in files] == texts


def test_a_batch_waits_for_a_busy_server(tmp_path: Path) -> None:
    files = [write_wave(tmp_path / f"{number}.wav", [read_recordings()[number][0]]) for number in range(3)]
    with ServerProcess(max_sessions="1", retry_after_seconds="1", **TINY_PARAKEET_SETTINGS) as server:
        done = run_program(find_example("batch"), *map(str, files), ECHOIC_URL=server.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(Path(f"{file}.txt").is_file() for file in files)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not sent that way there")
def test_ctrl_c_prints_all_captions_of_the_microphone(address: str, tmp_path: Path) -> None:
    samples, text = read_recordings()[3]
    file = tmp_path / "spoken.f32"
    samples.astype("<f4").tofile(file)
    env = {"PYTHONPATH": f"{FAKE_SOUNDDEVICE}{os.pathsep}{ROOT / 'src'}", "FAKE_MICROPHONE": str(file)}
    command = [sys.executable, str(find_example("microphone")), address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        assert process.stdout is not None
        output = ""
        while len(re.findall(r"\w+", strip_partials(output))) < len(text.split()) - 1:
            line = process.stdout.readline()
            assert line, process.stderr
            output += line
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, err) == (0, "")
    assert strip_partials(output + rest).split() == text.split()


def strip_partials(shown: str) -> str:
    """Remove the partials that later text overwrote."""
    return re.sub(r"[\r\n]\[[^\r\n]*\x1b\[K", "", shown).replace("\x1b[K", "")

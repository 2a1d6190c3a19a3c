"""``echoic listen`` against a real server: a microphone that plays what was drawn, pipes, a terminal."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import signal
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.cli.messages import CONNECTION_MESSAGES
from echoic.engines.scripted import VOCABULARY, draw_words
from support.server_process import ServerProcess, run_restartable_server
from support.terminal import CliTerminal, build_environment
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of Unix")

WORDS = VOCABULARY[:12]
TEXT = " ".join(WORDS)
SOUND = draw_words(WORDS)
FAKE = Path(__file__).parents[2] / "support" / "fake_sounddevice"
SCRIPTED = ("--model", "scripted")


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.fixture
def microphone(tmp_path: Path) -> dict[str, str]:
    """The environment of a program whose microphone hears the words."""
    file = tmp_path / "spoken.f32"
    SOUND.astype("<f4").tofile(file)
    path = os.pathsep.join([str(FAKE), *sys.path])
    return {"FAKE_MICROPHONE": str(file), "PYTHONPATH": path}


def run(*args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "echoic.cli", "listen", *args],
        input=stdin,
        capture_output=True,
        env=build_environment(**(env or {})),
        timeout=WAIT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def redirected(how: str, place: str, folder: Path) -> tuple[int, str]:
    """Run it on the words by a shell that redirects its standard streams; return what it says of itself."""
    file = folder / "words.raw"
    file.write_bytes(raw(SOUND))
    options = f"listen - --url {place} {' '.join(SCRIPTED)}"
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m echoic.cli {options} <"{file}" {how}'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=build_environment(),
        timeout=WAIT_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def raw(samples: NDArray[np.float32], form: str = "s16le") -> bytes:
    if form == "f32le":
        return samples.astype("<f4").tobytes()
    return (samples * 32768).astype("<i2").tobytes()


def waved(samples: NDArray[np.float32], rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    """Return a WAV file that holds the samples in every channel."""
    full = np.round(samples.astype(np.float64) * 2 ** (8 * width - 1)).astype("<i4")
    data = np.repeat(full, channels)
    if width == 1:
        body = (data + 128).astype(np.uint8).tobytes()
    else:
        body = data.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        out.writeframes(body)
    return file.getvalue()


class TestPipe:
    def test_raw_samples_become_a_line_for_each_final(self, place: str) -> None:
        status, out, err = run("-", "--url", place, *SCRIPTED, stdin=raw(SOUND))
        assert (status, out.split(), err) == (0, list(WORDS), "")
        assert len(out.splitlines()) > 1

    @pytest.mark.parametrize(("form", "channels", "rate"), [("f32le", 1, 16_000), ("s16le", 8, 48_000)])
    def test_raw_samples_may_lie_otherwise(self, place: str, form: str, channels: int, rate: int) -> None:
        sound = np.repeat(draw_words(WORDS, rate=rate), channels)
        options = ("--format", form, "--channels", str(channels), "--rate", str(rate))
        status, out, _ = run("-", "--url", place, *SCRIPTED, *options, stdin=raw(sound, form))
        assert (status, out.split()) == (0, list(WORDS))

    @pytest.mark.parametrize(
        ("width", "channels", "rate"), [(1, 1, 16_000), (2, 2, 48_000), (3, 1, 16_000), (4, 1, 16_000)]
    )
    def test_wav_says_itself_how_its_samples_lie(
        self, place: str, width: int, channels: int, rate: int
    ) -> None:
        data = waved(draw_words(WORDS, rate=rate), rate, width, channels)
        status, out, err = run("-", "--url", place, *SCRIPTED, stdin=data)
        assert (status, out.split(), err) == (0, list(WORDS), "")

    @pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_wav_of_unknown_length_goes_on_to_the_end(self, place: str, size: int) -> None:
        data = waved(SOUND)
        data = data[:40] + size.to_bytes(4, "little") + data[44:]
        status, out, _ = run("-", "--url", place, *SCRIPTED, stdin=data)
        assert (status, out.split()) == (0, list(WORDS))

    def test_what_comes_after_the_samples_of_wav_is_no_sound(self, place: str) -> None:
        data = waved(SOUND) + b"LIST" + raw(draw_words(["evening"] * 5))
        status, out, _ = run("-", "--url", place, *SCRIPTED, stdin=data)
        assert (status, out.split()) == (0, list(WORDS))

    def test_half_a_sample_at_the_end_is_left_out(self, place: str) -> None:
        status, out, err = run("-", "--url", place, *SCRIPTED, stdin=raw(SOUND) + b"\x01")
        assert (status, out.split(), err) == (0, list(WORDS), "")

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            (b"", "Nothing came over standard input."),
            (b"fLaC" + bytes(100), "neither raw samples nor WAV"),
            (b"ID3\x04" + bytes(100), "ffmpeg -i FILE"),
            (waved(SOUND)[:30], "ends within its header"),
            (waved(SOUND)[:20] + b"\x55\x00" + waved(SOUND)[22:], "it is compressed"),
            (waved(SOUND)[:22] + b"\x41\x00" + waved(SOUND)[24:], "has 65 channels; at most 64"),
        ],
    )
    def test_what_cannot_be_heard_is_told_in_a_sentence(self, place: str, data: bytes, sentence: str) -> None:
        status, out, err = run("-", "--url", place, *SCRIPTED, stdin=data)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert sentence in err

    @pytest.mark.parametrize(
        ("pipes", "sentence"),
        [
            ("<&-", "Standard input is closed"),
            ("0>/dev/null", "Standard input cannot be read: bad file descriptor."),
            (">/dev/full", "The words cannot be written: no space left on device."),
        ],
    )
    def test_pipes_that_cannot_be_used_are_told(
        self, place: str, tmp_path: Path, pipes: str, sentence: str
    ) -> None:
        status, err = redirected(pipes, place, tmp_path)
        assert status != 0
        assert sentence in err
        assert "Traceback" not in err

    def test_without_an_output_the_words_are_saved_all_the_same(self, place: str, tmp_path: Path) -> None:
        file = tmp_path / "kept.txt"
        assert redirected(f"--save {file} >&-", place, tmp_path) == (0, f"echoic: Saved to {file}.\n")
        assert file.read_text("utf-8") == f"{TEXT}\n"

    def test_what_are_no_numbers_ends_it_and_the_words_before_are_there(self, place: str) -> None:
        broken = raw(SOUND, "f32le") + np.full(40_000, np.nan, "<f4").tobytes()
        status, out, err = run("-", "--url", place, *SCRIPTED, "--format", "f32le", stdin=broken)
        assert (status, "This is not f32le" in err) == (1, True)
        assert WORDS[: len(out.split())] == tuple(out.split())

    def test_a_reader_that_leaves_ends_it_without_a_trace(self, place: str, tmp_path: Path) -> None:
        file = tmp_path / "kept.txt"
        command = [sys.executable, "-m", "echoic.cli", "listen", "-", "--url", place, *SCRIPTED]
        with subprocess.Popen(
            [*command, "--save", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=build_environment(),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdin is not None
            process.stdin.write(raw(draw_words(["one"] * 6)))
            process.stdin.flush()
            assert process.stdout.readline().startswith(b"one")
            process.stdout.close()
            process.stdin.write(raw(draw_words(["two"] * 20)))
            process.stdin.close()
            err = process.stderr.read().decode()
        assert "Traceback" not in err
        assert "Exception" not in err
        assert file.read_text("utf-8").startswith("one one")

    def test_that_the_server_is_away_and_that_it_is_back_is_said(self) -> None:
        with run_restartable_server(resume_seconds="300") as server:
            command = [sys.executable, "-m", "echoic.cli", "listen", "-", "--url", server.address, *SCRIPTED]
            pipe = subprocess.PIPE
            with subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, env=build_environment()
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdin.write(raw(SOUND))
                process.stdin.flush()
                first = process.stdout.readline()
                server.kill()
                away = process.stderr.readline().decode()
                server.start()
                back = process.stderr.readline().decode()
                process.stdin.close()
                rest, more = process.stdout.read(), process.stderr.read()
        assert (process.returncode, (first + rest).decode().split(), more) == (0, list(WORDS), b"")
        assert away == f"echoic: {CONNECTION_MESSAGES['lost']}\n"
        assert back == "echoic: The server is back.\n"

    @pytest.mark.parametrize("rate", ["0", "-5", "999999"])
    def test_a_rate_that_there_is_not_is_told_by_its_option(self, place: str, rate: str) -> None:
        status, out, err = run("-", "--url", place, "--rate", rate, stdin=raw(SOUND))
        assert (status, out) == (2, "")
        assert "'--rate'" in err


class TestSave:
    @pytest.mark.parametrize("form", ["txt", "srt", "vtt", "json"])
    def test_the_ending_names_the_format(self, place: str, tmp_path: Path, form: str) -> None:
        file = tmp_path / f"talk.{form}"
        file.write_text("older and longer " * 1000, "utf-8")
        status, _, err = run("-", "--url", place, *SCRIPTED, "--save", str(file), stdin=raw(SOUND))
        assert (status, err) == (0, f"echoic: Saved to {file}.\n")
        text = file.read_text("utf-8")
        assert "older" not in text
        if form == "json":
            body = json.loads(text)
            assert body["text"] == TEXT
            assert body["segments"][0]["words"][0]["word"] == WORDS[0]
        else:
            assert [word for word in text.split() if word in WORDS] == list(WORDS)

    def test_another_ending_or_folder_is_told_before_anything_is_heard(
        self, place: str, tmp_path: Path
    ) -> None:
        for name, sentence in (
            ("talk.doc", ".txt, .srt, .vtt, .json"),
            ("none/talk.txt", "cannot be written"),
        ):
            file = tmp_path / name
            status, out, err = run("-", "--url", place, "--save", str(file), stdin=raw(SOUND))
            assert (status, out) == (2, "")
            assert sentence in err

    def test_a_service_that_is_stopped_saves_what_was_heard(
        self, place: str, microphone: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / "talk.txt"
        command = [
            sys.executable,
            "-m",
            "echoic.cli",
            "listen",
            "--url",
            place,
            *SCRIPTED,
            "--save",
            str(file),
        ]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, env=build_environment(**microphone)
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            process.send_signal(signal.SIGTERM)
            rest, err = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, err
        assert file.read_text("utf-8").split() == (first + rest.decode()).split()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is imitated by /dev/full")
    def test_a_full_disk_is_told_and_the_captions_go_on(self, place: str, tmp_path: Path) -> None:
        file = tmp_path / "talk.txt"
        file.symlink_to("/dev/full")
        status, out, err = run("-", "--url", place, *SCRIPTED, "--save", str(file), stdin=raw(SOUND))
        assert (status, out.split()) == (1, list(WORDS))
        assert (
            err.count("cannot be written: no space left on device") == 2
        )  # as it is noticed, and at the end

    def test_an_older_file_stays_if_nothing_is_heard(self, tmp_path: Path) -> None:
        file = tmp_path / "talk.txt"
        file.write_text("yesterday", "utf-8")
        status, _, err = run("-", "--url", "127.0.0.1:1", "--save", str(file), stdin=raw(SOUND))
        assert status == 1
        assert "echoic serve" in err
        assert file.read_text("utf-8") == "yesterday"

    def test_a_server_that_dies_costs_nothing_of_what_was_heard(self, tmp_path: Path) -> None:
        file = tmp_path / "talk.txt"
        with ServerProcess(resume_seconds="0") as server:
            command = [sys.executable, "-m", "echoic.cli", "listen", "-", "--url", server.address, *SCRIPTED]
            with subprocess.Popen(
                [*command, "--save", str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=build_environment(),
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdin.write(raw(SOUND))
                process.stdin.flush()
                first = process.stdout.readline().decode()
                server.process.kill()
                err = process.stderr.read().decode()
        assert process.returncode == 1
        assert "was lost" in err
        assert file.read_text("utf-8").startswith(first.rstrip())


class TestMicrophone:
    def test_words_appear_while_they_are_spoken_and_ctrl_c_delivers_the_rest(
        self, place: str, microphone: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / "talk.txt"
        terminal = CliTerminal("listen", "--url", place, *SCRIPTED, "--save", str(file), env=microphone)
        terminal.wait_for_text("Listening to Built-in Microphone")
        terminal.wait_for_text("\x1b[2;3m")  # dim: it may still change
        terminal.wait_for_text(WORDS[5])
        terminal.write(b"\x03")
        assert terminal.wait_for_exit() == 0
        assert "Traceback" not in terminal.output
        kept = file.read_text("utf-8").split()
        assert tuple(kept) == WORDS[: len(kept)]
        assert len(kept) >= 6
        assert WORDS[len(kept) - 1] in terminal.output.rpartition("Saved to")[0]

    @pytest.mark.parametrize("end", ["lost", "mute"])
    def test_a_microphone_that_is_lost_is_told_and_what_was_heard_is_there(
        self, place: str, microphone: dict[str, str], end: str
    ) -> None:
        status, out, err = run("--url", place, *SCRIPTED, env=microphone | {"FAKE_AFTERWARDS": end})
        assert (status, out.split()) == (1, list(WORDS))
        assert "Built-in Microphone gives no sound any more" in err

    def test_a_microphone_of_another_rate_is_heard_at_its_own(
        self, place: str, microphone: dict[str, str]
    ) -> None:
        more = microphone | {"FAKE_RATE": "48000", "FAKE_AFTERWARDS": "lost"}
        _, out, _ = run("--url", place, *SCRIPTED, env=more)
        assert out.split() == list(WORDS)

    def test_a_device_is_chosen_by_number_or_by_part_of_its_name(
        self, place: str, microphone: dict[str, str]
    ) -> None:
        for wanted in ("2", "gäste"):
            more = microphone | {"FAKE_AFTERWARDS": "lost"}
            _, out, err = run("--url", place, *SCRIPTED, "--device", wanted, env=more)
            assert out.split() == list(WORDS)
            assert "Listening to Mikrofon für Gäste" in err

    def test_letters_that_the_output_does_not_have_stop_nothing(self, microphone: dict[str, str]) -> None:
        status, out, err = run("--list-devices", env=microphone | {"PYTHONIOENCODING": "ascii"})
        assert (status, err) == (0, "")
        assert "Mikrofon f?r G?ste" in out

    def test_the_devices_are_listed(self, microphone: dict[str, str]) -> None:
        status, out, _ = run("--list-devices", env=microphone)
        lines = [line.split() for line in out.splitlines()]
        assert status == 0
        assert lines[1] == ["1", "*", "Built-in", "Microphone", "2", "16000", "Hz"]
        assert lines[2][1:4] == ["Mikrofon", "für", "Gäste"]

    @pytest.mark.parametrize(
        ("trouble", "args", "sentence"),
        [
            ("no-portaudio", (), "needs the library PortAudio: apt-get install libportaudio2"),
            ("no-device", (), "There is no microphone here."),
            (
                "busy",
                (),
                "Built-in Microphone cannot be listened to: Error opening InputStream: Device unavailable.",
            ),
            ("", ("--device", "cellar"), "echoic listen --list-devices names them"),
            ("", ("--device", "9"), "echoic listen --list-devices names them"),
            ("", ("--device", "0"), "echoic listen --list-devices names them"),
        ],
    )
    def test_what_is_missing_is_told_with_what_helps(
        self, place: str, microphone: dict[str, str], trouble: str, args: tuple[str, ...], sentence: str
    ) -> None:
        status, out, err = run("--url", place, *SCRIPTED, *args, env=microphone | {"FAKE_TROUBLE": trouble})
        assert (status, out) == (1, "")
        assert sentence in err

    def test_a_missing_library_is_told_with_the_command_that_brings_it(
        self, place: str, tmp_path: Path
    ) -> None:
        (tmp_path / "sounddevice.py").write_text("raise ModuleNotFoundError('No module named sounddevice')")
        path = os.pathsep.join([str(tmp_path), *sys.path])
        status, out, err = run("--url", place, env={"PYTHONPATH": path})
        assert (status, out) == (1, "")
        assert "pip install 'echoic[microphone]'" in err

    def test_the_fake_takes_what_the_real_one_takes(self) -> None:
        spec = find_spec("sounddevice")
        if spec is None or spec.origin is None:
            pytest.skip("sounddevice is not installed")
        real, fake = (parameters(Path(file)) for file in (spec.origin, FAKE / "sounddevice.py"))
        for name, known in fake.items():
            assert known <= real[name], name


def parameters(file: Path) -> dict[str, set[str]]:
    """Return the parameters of the functions of sounddevice that are used here."""
    tree = ast.parse(file.read_text("utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in ("query_devices", "check_input_settings"):
            found[node.name] = {one.arg for one in node.args.args}
        elif isinstance(node, ast.ClassDef) and node.name == "InputStream":
            begin = next(
                one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"
            )
            found[node.name] = {one.arg for one in begin.args.args}
    return found


class TestTerminal:
    def test_a_narrow_and_low_terminal_shows_what_is_newest(self, place: str, tmp_path: Path) -> None:
        data = tmp_path / "sound"
        data.write_bytes(raw(draw_words([VOCABULARY[at % 40] for at in range(40)])))
        with data.open("rb") as stdin:
            terminal = CliTerminal(
                "listen", "-", "--url", place, *SCRIPTED, size=(4, 20), stdin=stdin.fileno()
            )
            terminal.wait_for_text(VOCABULARY[39])
            assert terminal.wait_for_exit() == 0
        assert "…" not in terminal.output
        coloured = re.sub(r"\x1b\[[0-9;]*m", "", terminal.output)
        rows = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", coloured)
        assert max(map(len, rows)) <= 20

    def test_no_color_means_none(self, place: str, microphone: dict[str, str]) -> None:
        more = microphone | {"NO_COLOR": "1", "FAKE_AFTERWARDS": "lost"}
        terminal = CliTerminal("listen", "--url", place, *SCRIPTED, env=more)
        terminal.wait_for_text(WORDS[3])
        terminal.resize(10, 30)
        assert terminal.wait_for_exit() == 1
        assert not re.search(r"\x1b\[(?:\d+;)*3[0-7]m", terminal.output)

    def test_a_second_ctrl_c_ends_at_once_and_what_was_heard_is_saved(
        self, microphone: dict[str, str], tmp_path: Path
    ) -> None:
        file = tmp_path / "talk.txt"
        with ServerProcess() as server:
            terminal = CliTerminal(
                "listen", "--url", server.address, *SCRIPTED, "--save", str(file), env=microphone
            )
            terminal.wait_for_text(WORDS[6])
            server.process.send_signal(signal.SIGSTOP)
            terminal.write(b"\x03")
            terminal.wait_for_text("Ending")
            terminal.write(b"\x03")
            assert terminal.wait_for_exit() == 130
            server.process.send_signal(signal.SIGCONT)
        assert "Traceback" not in terminal.output
        assert file.read_text("utf-8").startswith(" ".join(WORDS[:3]))

    def test_what_is_started_to_outlive_its_terminal_does(
        self, place: str, microphone: dict[str, str]
    ) -> None:
        command = ["nohup", sys.executable, "-m", "echoic.cli", "listen", "--url", place, *SCRIPTED]
        pipe = subprocess.PIPE
        more = microphone | {"FAKE_AFTERWARDS": "lost"}
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=build_environment(**more)
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            process.send_signal(signal.SIGHUP)
            rest, _ = process.communicate(timeout=WAIT_SECONDS)
        assert (first + rest.decode()).split() == list(WORDS)

    def test_the_keyboard_is_no_sound(self, place: str) -> None:
        terminal = CliTerminal("listen", "-", "--url", place)
        assert terminal.wait_for_exit() == 2
        assert "Standard input is the keyboard" in terminal.output

    def test_stream_saves_too(self, place: str, tmp_path: Path) -> None:
        file, kept = tmp_path / "words.wav", tmp_path / "kept.srt"
        file.write_bytes(waved(SOUND))
        terminal = CliTerminal(
            "stream", str(file), "--url", place, *SCRIPTED, "--speed", "4", "--save", str(kept)
        )
        assert terminal.wait_for_exit() == 0
        assert kept.read_text("utf-8").startswith("1\n00:00:00,000 --> ")

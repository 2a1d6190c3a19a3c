"""``echoic listen`` and ``echoic stream`` in a pseudo-terminal."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import VOCABULARY, draw_words
from support.builders import write_recording
from support.command_line import WORDS, encode_samples
from support.server_process import ServerProcess
from support.terminal import CliTerminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")

SCRIPTED = ("--model", "scripted")


def test_captions_appear_during_the_stream(scripted_server: str, recording: Path) -> None:
    args = ("stream", str(recording), "--url", scripted_server, *SCRIPTED, "--speed", "4")
    terminal = CliTerminal(*args)
    terminal.wait_for_text(WORDS[-1])
    assert terminal.wait_for_exit() == 0
    assert "\x1b[2;3m" in terminal.output  # a dim partial
    assert all(word in terminal.output for word in WORDS)


def test_ctrl_c_waits_for_the_last_words(scripted_server: str, tmp_path: Path) -> None:
    talk = str(write_recording(tmp_path / "talk.wav", [*WORDS, *["river"] * 100, "evening"]))
    terminal = CliTerminal("stream", talk, "--url", scripted_server, *SCRIPTED, "--speed", "2")
    terminal.wait_for_text(WORDS[2])
    terminal.write(b"\x03")
    assert terminal.wait_for_exit() == 130
    assert "evening" not in terminal.output
    assert "Traceback" not in terminal.output


def test_ctrl_c_saves_what_the_microphone_heard(
    scripted_server: str, microphone: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "talk.txt"
    terminal = CliTerminal("listen", "--url", scripted_server, *SCRIPTED, "--save", str(file), env=microphone)
    terminal.wait_for_text("Listening to Built-in Microphone")
    terminal.wait_for_text("\x1b[2;3m")  # a dim partial
    terminal.wait_for_text(WORDS[5])
    terminal.write(b"\x03")
    assert terminal.wait_for_exit() == 0
    assert "Traceback" not in terminal.output
    saved = file.read_text("utf-8").split()
    assert tuple(saved) == WORDS[: len(saved)]
    assert len(saved) >= 6
    assert WORDS[len(saved) - 1] in terminal.output.rpartition("Saved to")[0]


def test_a_second_ctrl_c_exits_at_once_and_saves(microphone: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    with ServerProcess() as server:
        args = ("listen", "--url", server.address, *SCRIPTED, "--save", str(file))
        terminal = CliTerminal(*args, env=microphone)
        terminal.wait_for_text(WORDS[6])
        server.process.send_signal(signal.SIGSTOP)
        terminal.write(b"\x03")
        terminal.wait_for_text("Stopping")
        terminal.write(b"\x03")
        assert terminal.wait_for_exit() == 130
        server.process.send_signal(signal.SIGCONT)
    assert "Traceback" not in terminal.output
    assert file.read_text("utf-8").startswith(" ".join(WORDS[:3]))


def test_a_small_terminal_shows_the_newest_words(scripted_server: str, tmp_path: Path) -> None:
    data = tmp_path / "samples"
    data.write_bytes(encode_samples(draw_words([VOCABULARY[number % 40] for number in range(40)])))
    with data.open("rb") as stdin:
        args = ("listen", "-", "--url", scripted_server, *SCRIPTED)
        terminal = CliTerminal(*args, size=(4, 20), stdin=stdin.fileno())
        terminal.wait_for_text(VOCABULARY[39])
        assert terminal.wait_for_exit() == 0
    assert "…" not in terminal.output
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", terminal.output)
    rows = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", coloured)
    assert max(map(len, rows)) <= 20


def test_no_color_disables_colours(scripted_server: str, microphone: dict[str, str]) -> None:
    env = microphone | {"NO_COLOR": "1", "FAKE_AFTERWARDS": "lost"}
    terminal = CliTerminal("listen", "--url", scripted_server, *SCRIPTED, env=env)
    terminal.wait_for_text(WORDS[3])
    terminal.resize(10, 30)
    assert terminal.wait_for_exit() == 1
    assert not re.search(r"\x1b\[(?:\d+;)*3[0-7]m", terminal.output)


def test_the_keyboard_is_not_audio(scripted_server: str) -> None:
    terminal = CliTerminal("listen", "-", "--url", scripted_server)
    assert terminal.wait_for_exit() == 2
    assert "Standard input is the keyboard" in terminal.output

"""Ctrl-C at any time: what was heard is delivered, or it ends at once, without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import VOCABULARY
from support.builders import write_recording
from support.terminal import CliTerminal, build_environment
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not sent that way there")

HANGING = Path(__file__).parents[2] / "support" / "hanging_model"
#: Its loop is stuck where nothing wakes it: a pipe that nobody reads, say.
STUCK = """
import asyncio, os
from echoic.cli.signals import handle_signals

async def main():
    handler.on_first_signal = lambda: print("finishing", flush=True)
    print("begun", flush=True)
    os.read(os.pipe()[0], 1)

with handle_signals() as handler:
    handler.run_coroutine(main())
"""
#: Closes what it has open, and has a thread that ends never.
CAREFUL = """
import asyncio, threading
from echoic.cli.signals import handle_signals

async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("begun", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)

with handle_signals() as handler:
    handler.run_coroutine(main())
"""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "words.wav", VOCABULARY[:12])


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are gone after the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def program(code: str, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=build_environment())
    started.append(process)
    return process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("command", ["stream", "transcribe"])
def test_while_a_model_is_loaded_ctrl_c_ends_it_at_once(command: str, recording: Path) -> None:
    path = os.pathsep.join([str(HANGING), *sys.path])
    more = {"ECHOIC_SCRIPTED_ENGINE": "yes", "PYTHONPATH": path}
    terminal = CliTerminal(command, str(recording), "--model", "scripted", env=more)
    terminal.wait_for_text("loading")
    terminal.write(b"\x03")
    assert terminal.wait_for_exit() == 130
    assert "Ending" not in terminal.output
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_what_hangs(number: int, started: list[subprocess.Popen[str]]) -> None:
    process = program(STUCK, started)
    assert said(process) == "begun\n"
    process.send_signal(signal.SIGINT)
    assert said(process) == "finishing\n"
    process.send_signal(number)
    assert process.communicate(timeout=WAIT_SECONDS) == ("", "")
    assert process.returncode == 128 + number


def test_what_is_open_is_closed_and_threads_are_not_waited_for(started: list[subprocess.Popen[str]]) -> None:
    process = program(CAREFUL, started)
    assert said(process) == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_SECONDS) == ("closed\n", "")
    assert process.returncode == 130

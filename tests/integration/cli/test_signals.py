"""Signals to a command in a process: SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.command_line import WORDS, run_fake_server_thread
from support.fake_server import FakePeer, build_final_json
from support.terminal import CliTerminal, build_environment, start_command
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals of Unix")

HANGING_MODEL = Path(__file__).parents[2] / "support" / "hanging_model"
#: Blocks the event loop in a read that never returns.
BLOCKED_LOOP = """
import asyncio, os
from echoic.cli.signals import handle_signals

async def main():
    handler.on_first_signal = lambda: print("stopping", flush=True)
    print("started", flush=True)
    os.read(os.pipe()[0], 1)

with handle_signals() as handler:
    handler.run_coroutine(main())
"""
#: Closes its resources when cancelled, and has a thread that never ends.
ENDLESS_THREAD = """
import asyncio, threading
from echoic.cli.signals import handle_signals

async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    print("started", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("closed", flush=True)

with handle_signals() as handler:
    handler.run_coroutine(main())
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Collect processes to kill after the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start_code(code: str, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=build_environment())
    started.append(process)
    return process


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("command", ["stream", "transcribe"])
def test_ctrl_c_exits_at_once_while_a_model_loads(command: str, recording: Path) -> None:
    path = os.pathsep.join([str(HANGING_MODEL), *sys.path])
    env = {"ECHOIC_SCRIPTED_ENGINE": "yes", "PYTHONPATH": path}
    terminal = CliTerminal(command, str(recording), "--model", "scripted", env=env)
    terminal.wait_for_text("loading")
    terminal.write(b"\x03")
    assert terminal.wait_for_exit() == 130
    assert "Stopping" not in terminal.output
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_exits_from_a_blocked_loop(
    number: int, started: list[subprocess.Popen[str]]
) -> None:
    process = start_code(BLOCKED_LOOP, started)
    assert read_line(process) == "started\n"
    process.send_signal(signal.SIGINT)
    assert read_line(process) == "stopping\n"
    process.send_signal(number)
    assert process.communicate(timeout=WAIT_SECONDS) == ("", "")
    assert process.returncode == 128 + number


def test_tasks_are_closed_and_threads_are_not_joined(started: list[subprocess.Popen[str]]) -> None:
    process = start_code(ENDLESS_THREAD, started)
    assert read_line(process) == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_SECONDS) == ("closed\n", "")
    assert process.returncode == 130


def test_a_terminated_service_saves_the_transcript(
    scripted_server: str, microphone: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "talk.txt"
    command = ("listen", "--url", scripted_server, "--model", "scripted", "--save", str(file))
    with start_command(*command, env=microphone) as process:
        assert process.stdout
        first = process.stdout.readline().decode()
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, err
    assert file.read_text("utf-8").split() == (first + rest.decode()).split()


def test_nohup_outlives_its_terminal(scripted_server: str, microphone: dict[str, str]) -> None:
    env = microphone | {"FAKE_AFTERWARDS": "lost"}
    args = ("listen", "--url", scripted_server, "--model", "scripted")
    with start_command(*args, env=env, wrapper=["nohup"]) as process:
        assert process.stdout
        first = process.stdout.readline().decode()
        process.send_signal(signal.SIGHUP)
        rest, _ = process.communicate(timeout=WAIT_SECONDS)
    assert (first + rest.decode()).split() == list(WORDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_the_partial_transcript(recording: Path, number: int) -> None:
    async def send_final(peer: FakePeer) -> None:
        await peer.send(build_final_json(1, "one"))
        await peer.send({"type": "warning", "code": "falling_behind", "message": "It takes a while."})
        await peer.socket.wait_closed()

    with (
        run_fake_server_thread(send_final) as url,
        start_command("transcribe", str(recording), "--url", url, "-f", "srt") as process,
    ):
        assert process.stderr
        assert process.stderr.readline() == b"echoic: It takes a while.\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 128 + number
    assert out == b"1\n00:00:00,000 --> 00:00:01,000\none\n"
    assert err.decode() == f"echoic: {recording}: The transcript up to this point was written.\n"

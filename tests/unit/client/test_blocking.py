"""Tests of the blocking client that need threads, signals or processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import pytest

from echoic.client import Final
from echoic.client.blocking import connect
from echoic.engines.scripted import VOCABULARY, draw_words
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from _typeshed import TraceFunction

#: The functions in which a call blocks.
WAITING = {f"BlockingStream.{name}" for name in ("_run_in_loop", "_call_in_loop", "_poll_future")}
#: Waits for a frame that never comes, and uses the stream after an interrupt.
INTERRUPTED = """
import sys, threading
import numpy as np
from echoic.client.blocking import connect

with connect(sys.argv[1], model="scripted") as stream:
    try:
        print("waiting", flush=True)
        next(stream)
    except KeyboardInterrupt:
        print("interrupted", repr(stream.commit()), flush=True)
    try:
        next(stream)  # the answer to the commit
        print("waiting", flush=True)
        next(stream)
    finally:
        stream.close()
        print([thread.name for thread in threading.enumerate()], flush=True)
"""
#: Ends without closing, as a session at a prompt does.
LEFT_OPEN = """
import sys
from echoic.client.blocking import connect

stream = connect(sys.argv[1], model="scripted")
print(stream.configured.active_model)
"""


#: Forks: the child has the objects of the stream, but not its thread.
FORKED = """
import gc, os, sys
from echoic.client import ServerError
from echoic.client.blocking import connect

stream = connect(sys.argv[1], model="scripted")
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    print(repr(stream.commit()))
else:
    try:
        stream.commit()
    except ServerError as error:
        print(error, flush=True)
    stream.close()
"""


@contextmanager
def interrupt_at(number: int) -> Iterator[None]:
    """Raise KeyboardInterrupt at the given line, counted from 1, of the functions that block."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code.co_qualname not in WAITING:
            return None
        left -= event == "line"
        if event == "line" and not left:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


def start_program(code: str, server_address: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, server_address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to a process")
def test_ctrl_c_interrupts_a_call_and_the_stream_stays_usable(server_address: str) -> None:
    with start_program(INTERRUPTED, server_address) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted ''\n"
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_SECONDS)
    assert out == "['MainThread']\n"
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupt_at_any_line_loses_no_frame(server_address: str) -> None:
    with connect(server_address, model="scripted", enable_partial=False) as stream:
        stream.send(draw_words(VOCABULARY * 2))
        stream.stop()  # so that all frames are there and no call blocks
        words, interrupted = [], 0
        while True:
            try:
                with interrupt_at(interrupted + 1):
                    frame = next(stream, None)
            except KeyboardInterrupt:
                interrupted += 1
                continue
            if frame is None:
                break
            if isinstance(frame, Final):
                words += frame.text.split()
    assert words == [*VOCABULARY, *VOCABULARY]
    assert interrupted > 10


def test_a_program_ends_without_closing_its_stream(server_address: str) -> None:
    with start_program(LEFT_OPEN, server_address) as process:
        try:
            assert process.communicate(timeout=WAIT_SECONDS) == ("scripted\n", "")
        finally:
            process.kill()
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_does_not_close_the_stream(server_address: str) -> None:
    with start_program(FORKED, server_address) as process:
        try:
            out, _ = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
    assert out == "The stream belongs to the parent process; open one after the fork.\n''\n"
    assert process.returncode == 0


def test_threads_have_streams_of_their_own(server_address: str) -> None:
    def transcribe_words(number: int) -> str:
        with connect(server_address, model="scripted") as stream:
            stream.send(draw_words(VOCABULARY[number : number + 5]))
            stream.stop()
            return " ".join(frame.text for frame in stream if isinstance(frame, Final))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(transcribe_words, range(8))) == [
            " ".join(VOCABULARY[at : at + 5]) for at in range(8)
        ]

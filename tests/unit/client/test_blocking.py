"""What only a blocking client can get wrong: threads, Ctrl-C, programs that end without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from echoic.client import Final
from echoic.client.blocking import connect
from echoic.engines.scripted import VOCABULARY, draw_words
from support.live import ServerProcess
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from _typeshed import TraceFunction

#: The functions in which a call waits.
WAITING = {f"BlockingStream.{name}" for name in ("_wait_for", "_in_loop", "_is_done")}
#: Waits for a frame that never comes; once interrupted, the stream is as good as before.
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


#: Its child has the stream's objects and not its thread.
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
    """Interrupt at this line of those that wait, counted from 1, if so many are run."""
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
def place() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


def started(code: str, place: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not sent that way there")
def test_ctrl_c_interrupts_a_wait_and_leaves_the_stream_usable_and_no_thread(place: str) -> None:
    with started(INTERRUPTED, place) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted ''\n"
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_SECONDS)
    assert out == "['MainThread']\n"
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupt_at_any_moment_of_a_wait_costs_no_frame(place: str) -> None:
    with connect(place, model="scripted", enable_partial=False) as stream:
        stream.send(draw_words(VOCABULARY * 2))
        stream.stop()  # so all frames are there, and a wait ends at once
        said, interrupted = [], 0
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
                said += frame.text.split()
    assert said == [*VOCABULARY, *VOCABULARY]
    assert interrupted > 10


def test_a_program_that_forgets_to_close_ends_all_the_same(place: str) -> None:
    with started(LEFT_OPEN, place) as process:
        try:
            assert process.communicate(timeout=WAIT_SECONDS) == ("scripted\n", "")
        finally:
            process.kill()
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no such thing there")
def test_a_forked_process_leaves_the_stream_to_the_one_that_has_it(place: str) -> None:
    with started(FORKED, place) as process:
        try:
            out, _ = process.communicate(timeout=WAIT_SECONDS)
        finally:
            process.kill()
    assert out == "The stream belongs to the process that this one was forked from.\n''\n"
    assert process.returncode == 0


def test_many_threads_have_streams_of_their_own(place: str) -> None:
    def said(number: int) -> str:
        with connect(place, model="scripted") as stream:
            stream.send(draw_words(VOCABULARY[number : number + 5]))
            stream.stop()
            return " ".join(frame.text for frame in stream if isinstance(frame, Final))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(said, range(8))) == [" ".join(VOCABULARY[at : at + 5]) for at in range(8)]

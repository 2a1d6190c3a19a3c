"""A recording that is not heard to its end: what was heard is written, and why it ends there is said."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from support.builders import write_recording
from support.fake_server import FakePeer, build_final_json, run_fake_server
from support.terminal import build_environment
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SUBTITLE = "1\n00:00:00,000 --> 00:00:01,000\none\n"
WRITTEN = "What was heard until then is written.\n"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "talk.wav", [("", 2.0)])


async def transcribe(*args: str) -> Process:
    command = (sys.executable, "-m", "echoic.cli", "transcribe", *args)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=build_environment())


async def result(process: Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    return process.returncode, out.decode(), err.decode()


async def too_late(peer: FakePeer) -> None:
    await peer.receive_samples_until("stop")
    await peer.send(build_final_json(1, "one"))
    message = "What was heard last could not be decoded in time."
    await peer.send({"type": "error", "code": "internal_error", "message": message})
    await peer.socket.close(1011)


async def lost(peer: FakePeer) -> None:
    await peer.receive_samples_until("stop")
    await peer.send(build_final_json(1, "one"))
    await asyncio.wait_for(await peer.socket.ping(), WAIT_SECONDS)
    peer.socket.transport.abort()


@pytest.mark.parametrize(
    ("play", "sentence"),
    [
        (too_late, "What was heard last could not be decoded in time."),
        (lost, "The connection to the server was lost."),
    ],
)
async def test_what_was_heard_before_it_failed_is_written(
    recording: Path, tmp_path: Path, play: Callable[[FakePeer], Awaitable[None]], sentence: str
) -> None:
    told = f"echoic: {recording}: {sentence} {WRITTEN}"
    async with run_fake_server(play) as url:
        to_stdout = await transcribe(str(recording), "--url", url, "-f", "srt")
        assert await result(to_stdout) == (1, SUBTITLE, told)
        to_file = await transcribe(str(recording), "--url", url, "-f", "srt", "-o", str(tmp_path))
        assert await result(to_file) == (1, f"{tmp_path / 'talk.srt'}\n", told)
    assert (tmp_path / "talk.srt").read_text("utf-8") == SUBTITLE


async def test_where_nothing_was_heard_an_older_file_stays(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.srt").write_text("older", "utf-8")

    async def silent(peer: FakePeer) -> None:
        await peer.receive_samples_until("stop")
        peer.socket.transport.abort()

    async with run_fake_server(silent) as url:
        process = await transcribe(str(recording), "--url", url, "-f", "srt", "-o", str(tmp_path))
        status, out, err = await result(process)
    assert (status, out) == (1, "")
    assert err == f"echoic: {recording}: The connection to the server was lost.\n"
    assert (tmp_path / "talk.srt").read_text("utf-8") == "older"


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not sent that way there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_what_was_heard_before_a_signal_is_written(recording: Path, number: int) -> None:
    async def goes_on(peer: FakePeer) -> None:
        await peer.send(build_final_json(1, "one"))
        await peer.send({"type": "warning", "code": "falling_behind", "message": "It takes a while."})
        await peer.socket.wait_closed()

    async with run_fake_server(goes_on) as url:
        process = await transcribe(str(recording), "--url", url, "-f", "srt")
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.readline(), WAIT_SECONDS)
        assert said == b"echoic: It takes a while.\n"
        process.send_signal(number)
        assert await result(process) == (128 + number, SUBTITLE, f"echoic: {recording}: {WRITTEN}")

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer

from echoic.cli import streaming
from echoic.cli.options import StreamOptions
from echoic.cli.streaming import StreamRequest, build_live_run, run_stream
from echoic.client import Final, ReceivedFrame
from support.fake_server import FakePeer, build_final_json, run_fake_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from numpy.typing import NDArray


async def test_a_silent_source_sends_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_KEEPALIVE_SECONDS", 0.01)
    pinged = asyncio.Event()

    async def answer_pings(peer: FakePeer) -> None:
        for _ in range(3):
            await peer.receive_samples_until("ping")
            await peer.send({"type": "pong"})
        pinged.set()
        while await peer.receive_message() != {"type": "stop"}:
            pass

    async def yield_once() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        await pinged.wait()

    async with run_fake_server(answer_pings) as url:
        request = StreamRequest(yield_once(), lambda _: None, lambda _: None)
        assert await run_stream(url, request, asyncio.Event()) == "moonshine-tiny-en"


async def test_a_failing_source_ends_the_stream() -> None:
    async def fail() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        raise LookupError

    async with run_fake_server(lambda peer: peer.socket.wait_closed()) as url:
        with pytest.raises(LookupError):
            await run_stream(url, StreamRequest(fail(), lambda _: None, lambda _: None), asyncio.Event())


async def test_a_stop_request_receives_the_last_frames() -> None:
    stop_requested = asyncio.Event()
    frames: list[ReceivedFrame] = []

    async def send_final_on_stop(peer: FakePeer) -> None:
        await peer.receive_samples_until("stop")
        await peer.send(build_final_json(1, "one"))
        await peer.socket.close(1000)

    async def yield_forever() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        stop_requested.set()
        await asyncio.Event().wait()

    async with run_fake_server(send_final_on_stop) as url:
        request = StreamRequest(yield_forever(), frames.append, lambda _: None)
        await run_stream(url, request, stop_requested)
    assert [frame.text for frame in frames if isinstance(frame, Final)] == ["one"]


@pytest.mark.parametrize(
    ("option", "value"), [("save_path", Path("talk.doc")), ("url", "ftp://x"), ("vocabulary", Path("none"))]
)
def test_invalid_options_end_the_command_with_status_2(option: str, value: object) -> None:
    given = {"save_path": None, "url": None, "vocabulary": None} | {option: value}
    vocabulary, save_path, url = (given[name] for name in ("vocabulary", "save_path", "url"))
    with pytest.raises(typer.Exit) as ended:
        build_live_run(StreamOptions(vocabulary=vocabulary), save_path, url, None)  # type: ignore[arg-type]
    assert ended.value.exit_code == 2

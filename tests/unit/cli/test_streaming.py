"""A source that is silent for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.cli import streaming as talks
from echoic.cli.streaming import StreamRequest, run_stream
from support.fake_server import FakePeer, run_fake_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from numpy.typing import NDArray


async def test_a_server_hears_of_a_client_whose_source_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "_KEEPALIVE_SECONDS", 0.01)
    alive = asyncio.Event()

    async def play(peer: FakePeer) -> None:
        for _ in range(3):
            await peer.receive_samples_until("ping")
            await peer.send({"type": "pong"})
        alive.set()
        while await peer.receive_message() != {"type": "stop"}:
            pass

    async def silent() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        await alive.wait()

    async with run_fake_server(play) as url:
        talk = StreamRequest(silent(), lambda _: None, lambda _: None)
        assert await run_stream(url, talk, asyncio.Event()) == "moonshine-tiny-en"


async def test_a_source_that_fails_ends_the_stream() -> None:
    async def broken() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        raise LookupError

    async with run_fake_server(lambda peer: peer.socket.wait_closed()) as url:
        with pytest.raises(LookupError):
            await run_stream(url, StreamRequest(broken(), lambda _: None, lambda _: None), asyncio.Event())

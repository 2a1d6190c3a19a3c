"""A source that is silent for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.cli import talk as talks
from echoic.cli.talk import Talk, converse
from support.fake_server import Peer, fake_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from numpy.typing import NDArray


async def test_a_server_hears_of_a_client_whose_source_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "_SIGN_OF_LIFE", 0.01)
    alive = asyncio.Event()

    async def play(peer: Peer) -> None:
        for _ in range(3):
            await peer.expect("ping")
            await peer.send({"type": "pong"})
        alive.set()
        while await peer.receive() != {"type": "stop"}:
            pass

    async def silent() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        await alive.wait()

    async with fake_server(play) as url:
        talk = Talk(silent(), lambda _: None, lambda _: None)
        assert await converse(url, talk, asyncio.Event()) == "moonshine-tiny-en"


async def test_a_source_that_fails_ends_the_stream() -> None:
    async def broken() -> AsyncGenerator[NDArray[np.float32], None]:
        yield np.zeros(10, np.float32)
        raise LookupError

    async with fake_server(lambda peer: peer.socket.wait_closed()) as url:
        with pytest.raises(LookupError):
            await converse(url, Talk(broken(), lambda _: None, lambda _: None), asyncio.Event())

"""The outbox alone: order, one writer, and what is left out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from echoic.protocol.frames import Pong
from echoic.server.stream.outbox import Outbox, OutboxLimits
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Taker:
    """A client that takes what it is sent only when ``open`` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.taken: list[str] = []
        self.closed = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.open.wait()
        self.taken.append(str(message.get("text", message["type"])))
        if message["type"] == "websocket.close":
            self.closed.set()


async def test_frames_go_out_once_in_order_then_the_close() -> None:
    taker = Taker()
    outbox = Outbox(taker.send, OutboxLimits(), lambda: None)
    outbox.push_frame(Pong())
    outbox.push_frame(Pong())
    outbox.close(1000)
    taker.open.set()
    await asyncio.wait_for(taker.closed.wait(), WAIT_SECONDS)
    assert taker.taken == ['{"type":"pong"}', '{"type":"pong"}', "websocket.close"]
    assert outbox.close_code == 1000


async def test_a_writer_that_was_given_up_leaves_its_successor_alone() -> None:
    taker = Taker()
    outbox = Outbox(taker.send, OutboxLimits(), lambda: None)
    outbox.push_frame(Pong())
    await asyncio.sleep(0)  # the first writer is in its send
    outbox.clear_queue()
    outbox.push_frame(Pong())
    for _ in range(3):
        await asyncio.sleep(0)  # the first is cancelled, the second is in its send
    outbox.close(1001)
    taker.open.set()
    await asyncio.wait_for(taker.closed.wait(), WAIT_SECONDS)
    assert taker.taken == ['{"type":"pong"}', "websocket.close"]

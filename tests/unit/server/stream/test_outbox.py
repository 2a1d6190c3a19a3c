"""The send queue: order, one writer, slow clients, replay."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from echoic.engines.scripted import draw_words
from echoic.protocol.frames import Pong
from echoic.server.stream.outbox import Outbox, OutboxLimits, ReplayBuffer
from support.in_memory_app import (
    CONFIG,
    assert_all_released,
    get_services,
    read_metric,
    wait_until_unread,
)
from support.memory_socket import MemorySocket
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from support.in_memory_app import StartApp


class BlockingClient:
    """A client that receives nothing until ``open`` is set."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.received: list[str] = []
        self.closed = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.open.wait()
        self.received.append(str(message.get("text", message["type"])))
        if message["type"] == "websocket.close":
            self.closed.set()


async def test_frames_are_sent_once_in_order_before_the_close() -> None:
    client = BlockingClient()
    outbox = Outbox(client.send, OutboxLimits(), lambda: None)
    outbox.push_frame(Pong())
    outbox.push_frame(Pong())
    outbox.close(1000)
    client.open.set()
    await asyncio.wait_for(client.closed.wait(), WAIT_SECONDS)
    assert client.received == ['{"type":"pong"}', '{"type":"pong"}', "websocket.close"]
    assert outbox.close_code == 1000


async def test_a_cancelled_writer_leaves_its_successor_alone() -> None:
    client = BlockingClient()
    outbox = Outbox(client.send, OutboxLimits(), lambda: None)
    outbox.push_frame(Pong())
    await asyncio.sleep(0)  # the first writer is in its send
    outbox.clear_queue()
    outbox.push_frame(Pong())
    for _ in range(3):
        await asyncio.sleep(0)  # the first is cancelled, the second is in its send
    outbox.close(1001)
    client.open.set()
    await asyncio.wait_for(client.closed.wait(), WAIT_SECONDS)
    assert client.received == ['{"type":"pong"}', "websocket.close"]


FIVE_SECONDS = draw_words([("one", 0.4), ("two", 0.4), ("three", 0.4)] * 4).tobytes()


async def test_a_slow_client_is_not_read_and_loses_no_final(start_app: StartApp) -> None:
    app = await start_app(send_queue_frames=4)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.may_read.clear()
        for _ in range(100):
            socket.send({"type": "ping"})
        await wait_until_unread(socket)
        assert 90 < socket.undelivered_count < 100
        socket.may_read.set()
        socket.send(FIVE_SECONDS)
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert sum(frame["type"] == "pong" for frame in frames) == 100
        assert frames[-1]["text"] == " ".join(["one two three"] * 4)


async def test_a_client_that_takes_nothing_is_disconnected(start_app: StartApp) -> None:
    app = await start_app(send_timeout_seconds=0.02)
    async with MemorySocket(app) as socket:
        socket.may_read.clear()
        socket.send({"type": "ping"})
        async with asyncio.timeout(WAIT_SECONDS):
            await get_services(app).streams.wait_until_empty()
    assert read_metric(app, "echoic_closes_total", code="1006") == 1
    assert_all_released(app)


def test_the_replay_buffer_discards_the_oldest_frames() -> None:
    buffer = ReplayBuffer(1_000)
    texts = [buffer.add_frame('{"a":1}', keep=number != 2) for number in range(1, 21)]
    assert json.loads(texts[-1]) == {"a": 1, "seq": 20}
    assert buffer.find_frames_after(20) == []
    assert buffer.find_frames_after(19) == texts[19:]
    assert buffer.find_frames_after(21) is None
    assert buffer.find_frames_after(0) is None
    buffer.start_holding()
    for _ in range(10):
        buffer.add_frame('{"a":1}', keep=True)
    assert buffer.has_overflowed
    assert buffer.find_frames_after(19) is not None
    buffer.stop_holding()
    assert buffer.find_frames_after(19) is None
    assert not buffer.has_overflowed

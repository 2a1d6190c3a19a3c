"""Sends SIGTERM to a server with 50 streams."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import websockets
from websockets.asyncio.client import connect

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

STREAMS = 50
WORDS = ["one", "two", "three", "four", "five"] * 6
AUDIO = draw_words(WORDS, word_seconds=0.4).tobytes()
SECOND = 64_000


class StreamingClient:
    """Streams until the server closes; counts the seconds acknowledged before the signal."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.acknowledged = 0
        self.words: list[str] = []
        self.code: int | None = None
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Send audio and read frames concurrently."""
        await self.socket.send('{"type":"config","model":"scripted","enable_partial":false}')
        sending = asyncio.create_task(self.send_audio())
        pongs = 0
        try:
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["type"] == "pong":
                    pongs += 1
                    self.acknowledged = pongs
                    if pongs == 3:
                        self.started.set()
                elif frame["type"] == "final":
                    self.words += frame["text"].split()
        except websockets.ConnectionClosed:
            self.code = self.socket.close_code
        sending.cancel()

    async def send_audio(self) -> None:
        """Send the audio, with a ping after each second."""
        try:
            for start in range(0, len(AUDIO), SECOND):
                await self.socket.send(AUDIO[start : start + SECOND])
                await self.socket.send('{"type":"ping"}')
                await asyncio.sleep(0)
        except websockets.ConnectionClosed:
            return


async def test_sigterm_delivers_all_results_in_time() -> None:
    with ServerProcess(drain_seconds="60") as server:
        address = server.address
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            sockets = [
                await stack.enter_async_context(connect(f"ws://{address}{STREAM_PATH}"))
                for _ in range(STREAMS)
            ]
            clients = [StreamingClient(socket) for socket in sockets]
            running = [group.create_task(client.run()) for client in clients]
            await asyncio.gather(*(client.started.wait() for client in clients))
            acknowledged = [client.acknowledged for client in clients]
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            await asyncio.gather(*running)
        code, _ = await asyncio.to_thread(server.wait_for_exit)
        seconds = time.monotonic() - began
    assert code == 0
    assert seconds < 60
    assert {client.code for client in clients} == {1001}
    for client, arrived in zip(clients, acknowledged, strict=True):
        assert client.words == WORDS[: len(client.words)]
        assert len(client.words) >= int(arrived / 0.5)  # a word every half a second

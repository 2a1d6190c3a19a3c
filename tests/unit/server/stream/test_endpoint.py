"""The endpoint: authentication and resume requests before a stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from echoic.auth.authenticator import Authenticator
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from echoic.server.stream.endpoint import StreamEndpoint
from support.in_memory_app import get_services, start_resumable_stream, wait_until_unread
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from support.in_memory_app import StartApp


@pytest.mark.parametrize("message", ["x" * (MAX_MESSAGE_BYTES + 1), bytes(MAX_MESSAGE_BYTES + 1)])
async def test_an_over_long_message_instead_of_a_key_is_refused(
    start_app: StartApp, message: str | bytes
) -> None:
    app = await start_app(api_key="correct horse")
    async with MemorySocket(app) as socket:
        if isinstance(message, str):
            socket.send_text(message)
        else:
            socket.send(message)
        assert (await socket.receive_frame())["code"] == "unauthorized"
        assert await socket.receive_frame() == {"type": "close", "code": 4401}
        await socket.wait_until_ended()
    assert len(get_services(app).streams) == 0


async def test_connections_that_may_resume_are_limited(start_app: StartApp) -> None:
    places = asyncio.Semaphore(1)
    app = await start_app()
    endpoint = StreamEndpoint(lambda: get_services(app), Authenticator(pending_connections=places))
    async with MemorySocket(app) as first:
        await start_resumable_stream(first)
        async with MemorySocket(endpoint) as silent:
            await wait_until_unread(silent)
            assert places.locked()
            async with MemorySocket(endpoint) as other:
                assert (await other.receive_frame())["code"] == "server_busy"
            silent.send({"type": "ping"})
            assert await silent.receive_frame() == {"type": "pong"}
            assert not places.locked()

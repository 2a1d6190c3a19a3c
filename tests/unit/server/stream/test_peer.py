"""The client's end of a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from echoic.protocol.constants import CLOSE_ABNORMAL
from echoic.server.stream.peer import PeerDisconnected, WebSocketPeer

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def build_peer(*messages: MutableMapping[str, Any]) -> WebSocketPeer:
    queue: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    for message in messages:
        queue.put_nowait(message)

    async def send(_: MutableMapping[str, Any]) -> None:
        raise AssertionError

    return WebSocketPeer(queue.get, send)


async def test_text_and_binary_messages_are_received() -> None:
    peer = build_peer(
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "text": None, "bytes": b"b"},
        {"type": "websocket.receive", "text": ""},
    )
    assert [await peer.receive_message() for _ in range(3)] == ["a", b"b", ""]


@pytest.mark.parametrize(("sent", "code"), [(1000, 1000), (None, CLOSE_ABNORMAL)])
async def test_a_disconnect_raises_with_its_close_code(sent: int | None, code: int) -> None:
    peer = build_peer({"type": "websocket.disconnect", "code": sent})
    with pytest.raises(PeerDisconnected) as raised:
        await peer.receive_message()
    assert raised.value.code == code


@pytest.mark.parametrize("message", ["a", b"a"])
async def test_a_pending_message_is_received_first(message: str | bytes) -> None:
    peer = build_peer({"type": "websocket.receive", "text": "next"})
    again = peer.with_pending_message(message)
    assert (again.name, again.send) == (peer.name, peer.send)
    assert [await again.receive_message() for _ in range(2)] == [message, "next"]

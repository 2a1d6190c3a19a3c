"""The client's end of an accepted WebSocket, as ASGI gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from secrets import token_hex

from starlette.types import Message, Receive, Send

from echoic.protocol.constants import CLOSE_ABNORMAL


class PeerDisconnected(Exception):
    """The client has disconnected.

    Args:
        code: The close code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class WebSocketPeer:
    """Receives messages from a client and sends messages to the client."""

    #: ASGI's ``receive``.
    receive: Receive
    #: ASGI's ``send``.
    send: Send
    #: The connection's id in the log.
    name: str = field(default_factory=lambda: token_hex(6))

    async def receive_message(self) -> str | bytes:
        """Return the next message.

        Raises:
            PeerDisconnected: The client has disconnected.
        """
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            raise PeerDisconnected(message.get("code") or CLOSE_ABNORMAL)
        text: str | None = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def with_pending_message(self, message: str | bytes) -> WebSocketPeer:
        """Return a peer of the same connection that receives ``message`` (again) before all others."""
        pending: list[Message] = [
            {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}
        ]

        async def receive() -> Message:
            return pending.pop() if pending else await self.receive()

        return WebSocketPeer(receive, self.send, self.name)

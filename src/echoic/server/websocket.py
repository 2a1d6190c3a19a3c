"""Uvicorn's WebSocket, bounded where a client could let it grow, and as RFC 6455 has it where it was not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Opcode
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from websockets.frames import Frame


class Conversation(ServerProtocol):
    """Takes a close between the fragments of a message for a close.

    Source: RFC 6455, section 5.4: "Control frames MAY be injected in the middle of a fragmented message."
    """

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class WebSocket(WebSocketsSansIOProtocol):
    """A connection to one client.

    Beyond uvicorn's own: fragments take no more memory than what is in them; pongs do not pile up for who
    reads none; and a request that cannot be read is answered.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as uvicorn's
        super().__init__(*args, **kwargs)
        self.conn = Conversation(
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size,
            logger=logging.getLogger("uvicorn.error"),
        )
        self._joined = bytearray()
        self._pong = b""

    def data_received(self, data: bytes) -> None:
        """Take what came from the client."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_complete:
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """Join a fragment to those before; kept apart, small ones take thirty times their size."""
        if self.frames:
            self._joined = bytearray(self.frames.pop())
        self._joined += event.data
        if event.fin:
            self.frames = [bytes(self._joined)]
            self._joined = bytearray()
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping; while the client reads nothing, only the last one, once it does.

        Source: RFC 6455, section 5.5.3: an endpoint "MAY elect to send a Pong frame for only the most
        recently processed Ping frame".
        """
        pongs = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong and not self.transport.is_closing():
            self.transport.write(pong)

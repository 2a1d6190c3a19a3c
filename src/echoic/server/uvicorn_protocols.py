"""Uvicorn's HTTP, bounded in the time that a request may take to be asked."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import Any, ClassVar, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol


class TimedHttpProtocol(H11Protocol):
    """A connection on which requests come, until it becomes a WebSocket.

    Beyond uvicorn's own: who says nothing, or a header now and then, is hung up on. By h11 the length of what
    comes before a body is bounded too: 64 KiB.
    """

    #: Seconds from the connection, or the first byte of a later request, to the end of its headers.
    request_timeout: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Take what came from the client."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()
        else:
            self._cancel_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._cancel_timer()
        super().connection_lost(exc)

    @classmethod
    def with_timeout(cls, seconds: float) -> type[TimedHttpProtocol]:
        """Return the same with another patience."""
        return type(cls.__name__, (cls,), {"patience": seconds})

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_timeout, self._close_timed_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_timed_out(self) -> None:
        self._timer = None
        if self.transport.get_protocol() is self:  # else it has become a WebSocket
            self.transport.close()


#: Bytes of messages that may wait for a stream which does not take them; then its client is not read until
#: half of them are taken. Until then pings that come behind audio are answered: 8 s of float32 at 16 kHz, on
#: top of the 30 s that the stream itself lets wait.
_MAX_QUEUED_BYTES: Final = 2**19
#: Bytes that are taken apart at once, and seconds for which one client's are before others have their turn:
#: thousands of small messages may come at once.
_PARSE_CHUNK_BYTES: Final = 2**11
_PARSE_TURN_SECONDS: Final = 0.001
#: Bytes that a message takes besides its own.
_MESSAGE_OVERHEAD_BYTES: Final = 256


class CompliantServerProtocol(ServerProtocol):
    """Takes a close between the fragments of a message for a close.

    Source: RFC 6455, section 5.4: "Control frames MAY be injected in the middle of a fragmented message."
    """

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """A connection to one client.

    Beyond uvicorn's own: fragments take no more memory than what is in them; pongs do not pile up for who
    reads none; a request that cannot be read is answered; pings are, while messages wait for the stream;
    whoever sends anything, or is not read, is not taken for gone; and thousands of small messages keep nobody
    else waiting.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as uvicorn's
        super().__init__(*args, **kwargs)
        self.conn = CompliantServerProtocol(
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size,
            logger=logging.getLogger("uvicorn.error"),
        )
        self._joined_fragments = bytearray()
        self._pending_pong = b""
        self._queued_sizes: deque[int] = deque()
        self._queued_bytes = 0
        self._last_data_at = 0.0
        self._unparsed = bytearray()
        self._is_turn_scheduled = self._is_paused = False

    def data_received(self, data: bytes) -> None:
        """Take what came from the client, as much of it as others can wait for."""
        self._last_data_at = self.loop.time()
        self._unparsed += data
        self._schedule_turn(at_once=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take what is left of a connection that was cut, and that there will be no more."""
        over = self.conn.parser_exc is not None or self.conn.close_rcvd is not None or self.close_sent
        if self._unparsed and self.handshake_complete and not over:
            self.writable.clear()  # nothing can be answered
            self._parse_bytes(len(self._unparsed))
        self._unparsed.clear()
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; behind a close all that comes is read, to find its answer."""
        if message["type"] == "websocket.close":
            self.read_paused = False
            self._schedule_turn()
        await super().send(message)

    def _schedule_turn(self, *, at_once: bool = False) -> None:
        """Take what is not yet read, if the stream has room for it, and read from the socket when all is."""
        if self.transport.is_closing():
            self._unparsed.clear()
        elif self._unparsed and not self.read_paused and not self._is_turn_scheduled:
            self._is_turn_scheduled = True
            if at_once:
                self._run_turn()
            else:
                self.loop.call_soon(self._run_turn)
        self._update_reading()

    def _run_turn(self) -> None:
        ends = perf_counter() + _PARSE_TURN_SECONDS
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            self._parse_bytes(_PARSE_CHUNK_BYTES)
            if perf_counter() > ends:
                break
        self._is_turn_scheduled = False
        self._schedule_turn()

    def _update_reading(self) -> None:
        paused = self.read_paused or bool(self._unparsed)
        if paused != self._is_paused and not self.transport.is_closing():
            self._is_paused = paused
            (self.transport.pause_reading if paused else self.transport.resume_reading)()

    def _parse_bytes(self, size: int) -> None:
        data = bytes(self._unparsed[:size])
        del self._unparsed[:size]
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_complete:
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """Join a fragment to those before; kept apart, small ones take thirty times their size."""
        if self.frames:
            self._joined_fragments = bytearray(self.frames.pop())
        self._joined_fragments += event.data
        if event.fin:
            self.frames = [bytes(self._joined_fragments)]
            self._joined_fragments = bytearray()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """Queue a message, and read no further once too much waits."""
        size = sum(map(len, self.frames)) + _MESSAGE_OVERHEAD_BYTES
        before, paused = self.queue.qsize(), self.read_paused
        self.read_paused = True  # else uvicorn stops reading at each message
        super().send_receive_event_to_app()
        self.read_paused = paused
        if self.queue.qsize() == before or self.close_sent:  # it is over
            return
        self._queued_sizes.append(size)
        self._queued_bytes += size
        if self._queued_bytes > _MAX_QUEUED_BYTES and not paused:
            self.read_paused = True
            self._update_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message, and read on once there is room again."""
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._queued_bytes -= self._queued_sizes.popleft()
        if self.read_paused and self._queued_bytes <= _MAX_QUEUED_BYTES // 2:
            self.read_paused = False
            self._last_data_at = self.loop.time()
            self._schedule_turn()
        return message

    def keepalive_timeout(self) -> None:
        """Cut off a client of which nothing came since it was pinged, though it was read.

        A pong may stand behind audio that is not read yet; what comes instead shows as well that it lives.
        """
        if self.read_paused or self._last_data_at >= self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.transport.abort()  # what is not sent yet will not be taken either

    def handle_ping(self) -> None:
        """Answer a ping; while the client reads nothing, only the last one, once it does.

        Source: RFC 6455, section 5.5.3: an endpoint "MAY elect to send a Pong frame for only the most
        recently processed Ping frame".
        """
        pongs = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pending_pong = pongs[-1]

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        pong, self._pending_pong = self._pending_pong, b""
        if pong and not self.transport.is_closing():
            self.transport.write(pong)

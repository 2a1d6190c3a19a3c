"""Hardens uvicorn's protocols: request timeouts, limits on queued messages, prompt pongs and fair parsing."""

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
    """An HTTP/1.1 connection that is closed if a request's headers take too long (slow clients, slowloris).

    h11 bounds the size of the headers: 64 KiB.
    """

    #: Seconds from the connection, or from the end of the previous response, to the end of the headers.
    request_timeout: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # as uvicorn's
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; the timer runs while no request is being answered."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_timer()
        else:
            self._cancel_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._cancel_timer()
        super().connection_lost(exc)

    @classmethod
    def with_timeout(cls, seconds: float) -> type[TimedHttpProtocol]:
        """Return a subclass with another ``request_timeout``, in seconds."""
        return type(cls.__name__, (cls,), {"request_timeout": seconds})

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_timeout, self._close_timed_out)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_timed_out(self) -> None:
        self._timer = None
        if self.transport.get_protocol() is self:  # otherwise it was upgraded to a WebSocket
            self.transport.close()


#: Bytes of messages queued for the application above which the socket is not read until half are taken.
#: Pings behind the queued audio are answered meanwhile: 8 s of float32 at 16 kHz, in addition to the 30 s of
#: backlog that a stream allows itself.
_MAX_QUEUED_BYTES: Final = 2**19
#: Bytes parsed in one step, and seconds of parsing after which the event loop serves other clients: one read
#: may return thousands of small messages.
_PARSE_CHUNK_BYTES: Final = 2**11
_PARSE_TURN_SECONDS: Final = 0.001
#: Bytes of memory that a queued message takes beyond its content.
_MESSAGE_OVERHEAD_BYTES: Final = 256


class CompliantServerProtocol(ServerProtocol):
    """Accepts a close frame between the fragments of a message.

    Source: RFC 6455, section 5.4: "Control frames MAY be injected in the middle of a fragmented message."
    """

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket connection with bounded memory, prompt pongs and fair parsing.

    In addition to uvicorn's protocol:

    - Fragments take no more memory than their content.
    - Pongs do not accumulate for a client that does not read.
    - A malformed handshake is answered.
    - Pings are answered while messages are queued for the application.
    - A client that sends data, or that the server is not reading, does not time out.
    - A burst of small messages does not block other clients.
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
        """Buffer received bytes and parse as many as one turn allows."""
        self._last_data_at = self.loop.time()
        self._unparsed += data
        self._schedule_turn(at_once=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Parse the buffered bytes of a lost connection, then disconnect."""
        over = self.conn.parser_exc is not None or self.conn.close_rcvd is not None or self.close_sent
        if self._unparsed and self.handshake_complete and not over:
            self.writable.clear()  # nothing can be sent any more
            self._parse_bytes(len(self._unparsed))
        self._unparsed.clear()
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message; after a close, read until the client's close frame arrives."""
        if message["type"] == "websocket.close":
            self.read_paused = False
            self._schedule_turn()
        await super().send(message)

    def _schedule_turn(self, *, at_once: bool = False) -> None:
        """Parse buffered bytes if the queue has room, and read from the socket once all are parsed."""
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
        """Join a fragment to the previous ones; small fragments kept apart take thirty times their size."""
        if self.frames:
            self._joined_fragments = bytearray(self.frames.pop())
        self._joined_fragments += event.data
        if event.fin:
            self.frames = [bytes(self._joined_fragments)]
            self._joined_fragments = bytearray()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """Queue a message; stop reading once too many bytes are queued."""
        size = sum(map(len, self.frames)) + _MESSAGE_OVERHEAD_BYTES
        before, paused = self.queue.qsize(), self.read_paused
        self.read_paused = True  # otherwise uvicorn stops reading at each message
        super().send_receive_event_to_app()
        self.read_paused = paused
        if self.queue.qsize() == before or self.close_sent:  # the connection is closed
            return
        self._queued_sizes.append(size)
        self._queued_bytes += size
        if self._queued_bytes > _MAX_QUEUED_BYTES and not paused:
            self.read_paused = True
            self._update_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next message; resume reading once the queue has room."""
        message = await self.queue.get()
        if message["type"] == "websocket.receive":
            self._queued_bytes -= self._queued_sizes.popleft()
        if self.read_paused and self._queued_bytes <= _MAX_QUEUED_BYTES // 2:
            self.read_paused = False
            self._last_data_at = self.loop.time()
            self._schedule_turn()
        return message

    def keepalive_timeout(self) -> None:
        """Disconnect a client that sent nothing since the ping although it was read.

        Its pong may be behind audio that is not read yet, so any received data counts as a sign of life.
        """
        if self.read_paused or self._last_data_at >= self.ping_sent_at:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.transport.abort()  # a graceful close would wait for unsent data

    def handle_ping(self) -> None:
        """Answer a ping; while the client does not read, keep only the last pong and send it later.

        Source: RFC 6455, section 5.5.3: an endpoint "MAY elect to send a Pong frame for only the most
        recently processed Ping frame".
        """
        pongs = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pending_pong = pongs[-1]

    def resume_writing(self) -> None:
        """Send the kept pong once the client reads again."""
        super().resume_writing()
        pong, self._pending_pong = self._pending_pong, b""
        if pong and not self.transport.is_closing():
            self.transport.write(pong)

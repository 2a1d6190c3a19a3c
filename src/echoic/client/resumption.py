"""Keeps a session over several connections: acknowledgements, resume, and replay of a lost session."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from echoic.client.errors import ServerError
from echoic.client.messages import ReceivedFrame, parse_frame
from echoic.client.replay import SessionReplay
from echoic.errors import ErrorCode
from echoic.protocol.frames import Configured, Error, Pong, Resumed, Warning  # noqa: A004  # the protocol's word

#: Close codes after which a session can be resumed: no close frame, a timeout, or a close by a proxy.
RESUMABLE_CODES: Final = frozenset({1006, 1011, 1012, 1014})
#: Bytes of unacknowledged messages above which sending waits.
MAX_UNACKNOWLEDGED_BYTES: Final = 2**23
#: Bytes or messages after which a ping asks for an acknowledgement.
_PING_EVERY_BYTES: Final = 2**16
_PING_EVERY_MESSAGES: Final = 256
#: Seconds between attempts to reconnect; doubled after each (exponential backoff).
_MIN_RETRY_SECONDS: Final = 0.05
_MAX_RETRY_SECONDS: Final = 2.0
#: Seconds without any frame after which a connection with an answer due counts as dead. If the server was
#: only busy, the session is resumed over another connection, and nothing is lost.
ANSWER_TIMEOUT: Final = 30.0
#: Seconds that a server may take to resume a session.
_RESUME_TIMEOUT: Final = 10.0
#: Seconds that a server may take to open a new session: it may load a model.
_CONFIG_TIMEOUT: Final = 120.0
#: Codes of errors on which reconnecting is retried.
_RETRYABLE_CODES: Final = frozenset({"unreachable", ErrorCode.SERVER_BUSY, ErrorCode.DRAINING})
_PING_MESSAGE: Final = '{"type":"ping"}'


class ResumableTransport:
    """Sends the messages of one session over as many connections as it takes.

    Messages are kept until a ``pong`` or the answer to ``resume`` acknowledges them; unacknowledged ones are
    sent again after a reconnect. If the server has lost the session, a new one is opened, and recent audio is
    replayed (docs/decisions/0017).

    Args:
        socket: The first connection.
        open_connection: Opens another.
        configured: The answer to the config, with the token to resume.
        replay: What a new session needs if this one is lost.
    """

    def __init__(
        self,
        socket: ClientConnection,
        open_connection: Callable[[], Awaitable[ClientConnection]],
        configured: Configured,
        replay: SessionReplay,
    ) -> None:
        self.socket = socket
        self.replay = replay
        #: The answer to the config that opened the session.
        self.configured = configured
        #: Whether there is no connection.
        self.is_disconnected = False
        self._open_connection = open_connection
        self._resume_token = configured.resume_token or ""
        self._resume_seconds = float(configured.resume_seconds or 0.0)
        self._last_received = 0
        self._unacknowledged: deque[str | bytes] = deque()
        self._acknowledged_count = 1  # including the config
        self._sent_count = 0  # unacknowledged messages handed to this connection
        self._unacknowledged_bytes = self._bytes_since_ping = 0
        self._pending_pings: deque[int] = deque()
        self._message_queued = asyncio.Event()
        self._space_freed = asyncio.Event()
        self._last_frame_at = self._reconnected_at = 0.0
        self._retry_pause = self._retry_deadline = 0.0
        self._silence_timer: asyncio.TimerHandle | None = None
        self._write_task = asyncio.create_task(self._write_messages())

    # ---- messages

    def queue_message(self, message: str | bytes, *, is_ping: bool) -> None:
        """Send a message as soon as the connection accepts it."""
        self._unacknowledged.append(message)
        self.replay.record_message(message)
        self._unacknowledged_bytes += len(message)
        self._bytes_since_ping += len(message) + _PING_EVERY_BYTES // _PING_EVERY_MESSAGES
        if is_ping:
            self._pending_pings.append(self._acknowledged_count + len(self._unacknowledged))
            self._bytes_since_ping = 0
            self._start_silence_timer()
        self._message_queued.set()

    @property
    def is_ping_due(self) -> bool:
        """Whether it is time for a ping, which acknowledges messages."""
        return self._bytes_since_ping >= _PING_EVERY_BYTES

    async def wait_for_space(self) -> None:
        """Wait while too much is unacknowledged (backpressure)."""
        await asyncio.sleep(0)
        while self._unacknowledged_bytes > MAX_UNACKNOWLEDGED_BYTES:
            self._space_freed.clear()
            await self._space_freed.wait()

    def on_frame(self, frame: ReceivedFrame, number: int | None) -> list[ReceivedFrame]:
        """Record a received frame; return the frames to deliver, without what a lost session delivered."""
        if number is not None:
            self._last_received = number
        self._last_frame_at = asyncio.get_running_loop().time()
        self._retry_pause = 0.0
        if isinstance(frame, Pong) and self._pending_pings:
            self._drop_acknowledged(self._pending_pings.popleft())
        return self.replay.filter_frame(frame)

    def stop(self) -> None:
        """Stop sending."""
        self._write_task.cancel()
        self._cancel_silence_timer()

    def _start_silence_timer(self) -> None:
        """Watch for a dead connection while answers are due."""
        if self._silence_timer is None:
            loop = asyncio.get_running_loop()
            self._last_frame_at = loop.time()
            self._silence_timer = loop.call_later(ANSWER_TIMEOUT, self._check_silence)

    def _check_silence(self) -> None:
        loop = asyncio.get_running_loop()
        silent = loop.time() - self._last_frame_at
        self._silence_timer = None
        if self._pending_pings and silent >= ANSWER_TIMEOUT:
            self.socket.transport.abort()
        elif self._pending_pings:
            self._silence_timer = loop.call_later(ANSWER_TIMEOUT - silent, self._check_silence)

    def _cancel_silence_timer(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
            self._silence_timer = None

    def _drop_acknowledged(self, acknowledged_count: int) -> None:
        while self._acknowledged_count < acknowledged_count:
            self._unacknowledged_bytes -= len(self._unacknowledged.popleft())
            self._acknowledged_count += 1
            self._sent_count -= 1
        self._space_freed.set()

    async def _write_messages(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                while self._sent_count < len(self._unacknowledged):
                    self._sent_count += 1  # counted first: the answer may overtake ``send``
                    await self.socket.send(self._unacknowledged[self._sent_count - 1])
                    await asyncio.sleep(0)  # a socket with room never yields
                self._message_queued.clear()
                await self._message_queued.wait()

    # ---- connections

    async def reconnect(self) -> list[ReceivedFrame]:
        """Resume the session over a new connection, or replay it in a new session; retries with backoff.

        A connection that was lost soon and brought no frame does not reset the backoff.

        Returns:
            Frames to treat as received: a pong for each ping that arrived without its answer, and the
            warnings of a new session with another model.

        Raises:
            ServerError: The server refused, or the time to resume is over.
        """
        self.is_disconnected = True
        self.stop()
        clock = asyncio.get_running_loop().time
        if clock() - self._reconnected_at > _MAX_RETRY_SECONDS:
            self._retry_pause = 0.0
        if not self._retry_pause:
            self._retry_deadline = clock() + self._resume_seconds
        received: list[ReceivedFrame] | None = None
        while received is None:
            if self._retry_pause:
                if clock() > self._retry_deadline:
                    raise ServerError("closed", "The connection to the server was lost.", close_code=1006)
                await asyncio.sleep(
                    self._retry_pause * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
                )
            self._retry_pause = min(2 * self._retry_pause or _MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS)
            received = await self._try_reconnect()
        self._reconnected_at = clock()
        self.is_disconnected = False
        self._write_task = asyncio.create_task(self._write_messages())
        if self._pending_pings:
            self._start_silence_timer()
        return received

    async def _try_reconnect(self) -> list[ReceivedFrame] | None:
        """Resume or re-create the session. Return None if it should be tried again later."""
        try:
            if self._resume_token:
                return self._apply_resumed(await self._resume_session())
            return await self._recreate_session()
        except (ConnectionClosed, OSError, TimeoutError):
            return None
        except ServerError as error:
            if error.code == ErrorCode.RESUME_FAILED:
                self._resume_token = ""
                return await self._try_reconnect()
            if error.code in _RETRYABLE_CODES or error.detail.get("quota") == "concurrent_streams":
                return None
            raise

    async def _resume_session(self) -> Resumed:
        config = {"type": "config", "resume": self._resume_token, "received": self._last_received}
        answer, _ = await self._open_session(config, _RESUME_TIMEOUT)
        if isinstance(answer, Resumed):
            return answer
        self.socket.transport.abort()
        raise ServerError("closed", "The server did not resume the stream.")

    async def _recreate_session(self) -> list[ReceivedFrame]:
        config = {**self.replay.config, "type": "config"}
        configured, warnings = await self._open_session(config, _CONFIG_TIMEOUT)
        if not isinstance(configured, Configured):
            self.socket.transport.abort()
            raise ServerError("closed", "The server did not open a new session.")
        self._resume_token = configured.resume_token or ""
        messages = self.replay.replay_messages()
        self._unacknowledged = deque(messages)
        if messages and messages[-1] != _PING_MESSAGE:
            self._unacknowledged.append(_PING_MESSAGE)  # for an acknowledgement
            self.replay.ignore_pong()
        self._acknowledged_count, self._sent_count = 1, 0
        self._unacknowledged_bytes, self._bytes_since_ping = sum(map(len, self._unacknowledged)), 0
        self._pending_pings = deque(
            at for at, message in enumerate(self._unacknowledged, start=2) if message == _PING_MESSAGE
        )
        is_other_model = configured.active_model != self.configured.active_model
        self.configured = configured
        return warnings if is_other_model else []

    async def _open_session(
        self, config: Mapping[str, object], max_seconds: float
    ) -> tuple[Resumed | Configured | None, list[ReceivedFrame]]:
        """Open a connection with a config; return its answer, and the warnings before it."""
        self.socket = await self._open_connection()
        warnings: list[ReceivedFrame] = []
        try:
            async with asyncio.timeout(max_seconds):
                await self.socket.send(msgspec.json.encode(config).decode())
                frame, number = parse_frame(await self.socket.recv())
                while isinstance(frame, Warning):
                    warnings.append(frame)
                    frame, number = parse_frame(await self.socket.recv())
        except ValueError as error:  # not a JSON object
            self.socket.transport.abort()
            raise ServerError("closed", str(error)) from None
        except BaseException:
            self.socket.transport.abort()
            raise
        if isinstance(frame, Error):
            await self.socket.close()
            message = f"The connection was lost, and the server cannot continue the stream. {frame.message}"
            raise ServerError(frame.code, message, frame.detail, self.socket.close_code)
        if isinstance(frame, Configured):
            self._last_received = number or 0
        return frame if isinstance(frame, Resumed | Configured) else None, warnings

    def _apply_resumed(self, resumed: Resumed) -> list[ReceivedFrame]:
        self._sent_count = len(self._unacknowledged)
        self._drop_acknowledged(resumed.received_messages)
        self._sent_count = 0
        answered: list[ReceivedFrame] = []
        while self._pending_pings and self._pending_pings[0] <= resumed.received_messages:
            self._pending_pings.popleft()  # its answer may have been lost with the connection
            answered += self.replay.filter_frame(Pong())
        return answered

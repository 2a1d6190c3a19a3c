"""An open stream to a server: samples in, typed frames out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from echoic.client.errors import ServerError
from echoic.client.messages import ReceivedFrame, encode_samples, parse_frame
from echoic.client.pacing import CHUNK_SECONDS, pace_audio
from echoic.client.replay import SessionReplay
from echoic.client.resumption import RESUMABLE_CODES, ResumableTransport
from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.protocol.constants import CLOSE_NORMAL
from echoic.protocol.frames import Configured, Error, FullTranscript, Pong, Status

#: Seconds of audio in a message of a file that is not paced.
_FILE_CHUNK_SECONDS = 0.5
#: Changes of a stream's connection: lost, or back over a new one.
ConnectionState = Literal["lost", "back"]


class Stream:
    """An open stream; made by ``connect``.

    Iterating yields the server's frames in order, until the stream ends. Answers to calls of this object
    (``configured``, ``pong``, ``reset``) are left out, except ``full_transcript``. Frames are received in the
    background and queued, so a client may send everything first and read later.

    Args:
        socket: The connection.
        open_connection: Opens another connection to the same server.
    """

    def __init__(
        self,
        socket: ClientConnection,
        open_connection: Callable[[], Awaitable[ClientConnection]] | None = None,
    ) -> None:
        #: Called with "lost" when the connection is lost, and with "back" when the stream continues.
        self.on_state: Callable[[ConnectionState], None] | None = None
        self._socket = socket
        self._open_connection = open_connection
        self._transport: ResumableTransport | None = None
        self._sent_config: dict[str, object] = {}
        self._is_closing = False
        self._inbox: deque[ReceivedFrame] = deque()
        self._inbox_changed = asyncio.Event()
        self._pending_answers: dict[type, deque[asyncio.Future[Any]]] = {}
        self._failure: ServerError | None = None
        self._last_error: Error | None = None
        self._configured: Configured | None = None
        #: One config at a time: a refusal overtakes answers to earlier configs and does not name its config.
        self._config_lock = asyncio.Lock()
        self._read_task = asyncio.create_task(self._read_frames(), name="echoic stream reader")

    @property
    def configured(self) -> Configured:
        """The values that the server put into force."""
        if self._configured is None:
            raise RuntimeError("The stream is not configured yet.")
        return self._configured

    async def send(self, samples: NDArray[Any]) -> None:
        """Send samples; waits under backpressure, also while the connection is lost.

        Args:
            samples: At the stream's ``sample_rate``, any length: floats in -1..1 or integers at full scale
                (int8, int16, int32, uint8), shape ``(n,)`` for mono or ``(n, channels)``, which are averaged.

        Raises:
            TypeError: The samples have another type.
            ValueError: The array has another shape.
            ServerError: The stream has ended.
        """
        for message in encode_samples(samples):
            await self._send_message(message)

    async def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None:
        """Send the first audio track of a file; cancelling does not take back what was sent.

        Args:
            source: Any audio or video file: its path, or the file open for reading bytes.
            speed: Multiple of the pace of speech. If None, audio is sent as fast as the server accepts it.

        Raises:
            UnreadableAudio: The file cannot be opened, or nothing of it can be decoded.
            ServerError: The stream has ended.
        """
        rate = self.configured.sample_rate
        pieces = await asyncio.to_thread(
            _read_audio, source, rate, CHUNK_SECONDS if speed else _FILE_CHUNK_SECONDS
        )
        async for piece in pace_audio(pieces, rate, speed):
            await self.send(piece)

    async def commit(self) -> str:
        """Finalize everything sent so far and return the transcript since the last commit.

        Raises:
            ServerError: The stream ended before the answer.
        """
        answer: FullTranscript = await self._request_answer({"type": "commit"}, FullTranscript)
        return answer.text

    async def reset(self) -> None:
        """Clear the session on the server: transcript empty, clock at zero.

        Raises:
            ServerError: The stream ended before the answer.
        """
        await self._request_answer({"type": "reset"}, Status)

    async def ping(self) -> float:
        """Return the seconds until the server's ``pong``.

        Raises:
            ServerError: The stream ended before the answer.
        """
        start = time.perf_counter()
        await self._request_answer({"type": "ping"}, Pong)
        return time.perf_counter() - start

    async def stop(self) -> str:
        """Finalize everything, wait for the server to close, and return the transcript.

        Returns:
            The transcript since the last commit; the finals can still be iterated.

        Raises:
            ServerError: The stream ended with an error.
        """
        transcripts = self._pending_answers.setdefault(FullTranscript, deque())
        answer: asyncio.Future[FullTranscript] = asyncio.get_running_loop().create_future()
        transcripts.append(answer)
        await self._send_message(_encode_json({"type": "stop"}))
        await asyncio.wait([self._read_task])
        if self._failure is not None:
            raise self._failure
        return answer.result().text if answer.done() and not answer.cancelled() else ""

    async def close(self) -> None:
        """Close the connection at once and drop what is pending; idempotent."""
        self._is_closing = True
        if self._transport is not None and self._transport.is_disconnected:
            self._read_task.cancel()
        await self._socket.close()
        await asyncio.wait([self._read_task])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedFrame:
        while not self._inbox:
            if self._read_task.done():
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._inbox_changed.clear()
            await self._inbox_changed.wait()
        return self._inbox.popleft()

    def frames(self) -> list[ReceivedFrame]:
        """Return the frames received so far, without waiting; iteration continues after them."""
        return [self._inbox.popleft() for _ in range(len(self._inbox))]

    def requeue_frames(self, frames: Iterable[ReceivedFrame]) -> None:
        """Put frames back at the front of the queue."""
        self._inbox.extendleft(reversed([*frames]))
        self._inbox_changed.set()

    async def configure(self, values: Mapping[str, object]) -> None:
        """Send a ``config`` frame and wait until its values are in force; ``connect`` sends the first.

        Concurrent calls are sent one after the other.

        Args:
            values: Keys of the frame.

        Raises:
            ServerError: The server refused the values (the old ones stay in force), or the stream ended
                before the answer.
        """
        async with self._config_lock:
            await self._wait_for_answer(Configured)
            if self._transport is None:
                self._sent_config |= values
            answer = await self._request_answer({**values, "type": "config"}, Configured)
        if isinstance(answer, Error):
            raise ServerError(answer.code, answer.message, answer.detail)
        self._configured = answer

    async def _wait_for_answer(self, kind: type) -> None:
        """Wait for all answers of a kind that are due, also those of cancelled calls."""
        if waiting := self._pending_answers.get(kind):
            await asyncio.wait([waiting[-1], self._read_task], return_when=asyncio.FIRST_COMPLETED)

    async def _request_answer(self, frame: Mapping[str, object], kind: type) -> Any:  # noqa: ANN401  # returns an instance of ``kind``
        answer = asyncio.get_running_loop().create_future()
        self._pending_answers.setdefault(kind, deque()).append(answer)
        await self._send_message(_encode_json(frame))
        await asyncio.wait([answer, self._read_task], return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and not answer.cancelled():
            return answer.result()
        raise self._end_error

    async def _send_message(self, message: str | bytes) -> None:
        if self._transport is not None:
            await self._send_resumable(self._transport, message)
            return
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            await asyncio.wait([self._read_task])
            raise self._end_error from None
        await asyncio.sleep(0)  # a socket with room never yields, and the reader must run

    async def _send_resumable(self, transport: ResumableTransport, message: str | bytes) -> None:
        """Queue a message, and a ping for an acknowledgement if one is due."""
        if self._read_task.done():
            raise self._end_error
        transport.queue_message(message, is_ping=message == _PING_MESSAGE)
        if transport.is_ping_due:
            self._pending_answers.setdefault(Pong, deque()).append(asyncio.get_running_loop().create_future())
            transport.queue_message(_PING_MESSAGE, is_ping=True)
        room = asyncio.ensure_future(transport.wait_for_space())
        try:
            await asyncio.wait([room, self._read_task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            room.cancel()
        if not room.done():
            raise self._end_error

    async def _read_frames(self) -> None:
        try:
            await self._read_socket()
            while self._transport is not None and self._is_resumable:
                self._notify_state("lost")
                for frame in await self._transport.reconnect():
                    self._resolve_answer(frame) if isinstance(frame, Pong) else self._deliver_frame(frame)
                self._socket = self._transport.socket
                self._notify_state("back")
                await self._read_socket()
            self._deliver_owed_transcript()
        except ServerError as error:
            self._failure = error
        finally:
            if self._transport is not None:
                self._transport.stop()
            self._record_outcome()

    def _notify_state(self, state: ConnectionState) -> None:
        if self.on_state is not None:
            asyncio.get_running_loop().call_soon(
                self.on_state, state
            )  # so that its errors do not end the reader

    async def _read_socket(self) -> None:
        try:
            async for message in self._socket:
                shift_times = None if self._transport is None else self._transport.replay.shift_times
                frame, number = parse_frame(message, shift_times)
                delivered = [frame]
                if self._transport is not None:
                    delivered = self._transport.on_frame(frame, number)
                elif isinstance(frame, Configured):
                    self._transport = self._build_transport(frame, number)
                for one in delivered:
                    self._deliver_frame(one)
                self._inbox_changed.set()
        except ConnectionClosed:
            pass  # ``_record_outcome`` reads the close code
        except ValueError as error:
            self._failure = ServerError("closed", str(error))
            await self._socket.close(1002)

    def _build_transport(self, frame: Configured, number: int | None) -> ResumableTransport | None:
        if self._open_connection is None or not isinstance(frame.resume_token, str):
            return None
        transport = ResumableTransport(
            self._socket, self._open_connection, frame, SessionReplay(self._sent_config, frame)
        )
        transport.on_frame(frame, number)
        return transport

    def _deliver_owed_transcript(self) -> None:
        owed = self._transport.replay.owed_transcript if self._transport is not None else None
        if owed is not None and self._socket.close_code == CLOSE_NORMAL:
            self._deliver_frame(owed)

    @property
    def _end_error(self) -> ServerError:
        """The error of calls on a stream that has ended."""
        return self._failure or ServerError("closed", "The stream has ended.")

    @property
    def _is_resumable(self) -> bool:
        ended = self._is_closing or self._failure is not None or self._last_error is not None
        return not ended and self._socket.close_code in RESUMABLE_CODES

    def _deliver_frame(self, frame: ReceivedFrame) -> None:
        if isinstance(frame, Error) and self._consume_error(frame):
            return
        if isinstance(frame, Configured | Status | Pong):
            if self._resolve_answer(frame):
                return
        elif isinstance(frame, FullTranscript):
            self._resolve_answer(frame)
        self._inbox.append(frame)

    def _consume_error(self, error: Error) -> bool:
        if _find_close_code(error.code) is not None:
            self._last_error = error
            return True
        waiting = self._pending_answers.get(Configured)
        if waiting and error.code not in _AUDIO_ERROR_CODES:
            waiting.popleft().set_result(error)
            return True
        return False

    def _resolve_answer(self, frame: Configured | Status | Pong | FullTranscript) -> bool:
        waiting = self._pending_answers.get(type(frame))
        while waiting:
            answer = waiting.popleft()
            if not answer.done():
                answer.set_result(frame)
                return True
        return False

    def _record_outcome(self) -> None:
        code = self._socket.close_code
        error = self._last_error
        if self._is_closing:
            pass
        elif error is not None:
            self._failure = ServerError(error.code, error.message, error.detail, code)
        elif self._failure is None and code != CLOSE_NORMAL:
            self._failure = ServerError("closed", "The connection to the server was lost.", close_code=code)
        self._inbox_changed.set()


def _read_audio(source: Path | str | BinaryIO, rate: int, chunk: float) -> Iterator[NDArray[np.float32]]:
    from echoic.media import read_audio  # noqa: PLC0415  # PyAV loads slowly, and few clients send files

    return read_audio(source, rate, chunk)


def _find_close_code(code: str) -> int | None:
    with suppress(ValueError):
        return CLOSE_CODES[ErrorCode(code)]
    return None


def _encode_json(frame: Mapping[str, object]) -> str:
    return msgspec.json.encode(frame).decode()


#: Errors that never answer a config.
_AUDIO_ERROR_CODES = frozenset({ErrorCode.BAD_AUDIO, ErrorCode.DECODE_FAILED})
_PING_MESSAGE = _encode_json({"type": "ping"})

"""One stream to a server: samples in, frames out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
from websockets.exceptions import ConnectionClosed

from echoic.client.failure import ServerError
from echoic.client.incoming import Received, read_frame
from echoic.client.outgoing import as_messages
from echoic.client.pacing import PIECE, paced
from echoic.client.past import Past
from echoic.client.thread import TORN, Thread
from echoic.errors import CLOSE_CODES, CLOSE_NORMAL, ErrorCode
from echoic.wire.frames import Configured, Error, FullTranscript, Pong, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray
    from websockets.asyncio.client import ClientConnection

#: Seconds of a file in a message that nobody waits for.
_LARGE_PIECE = 0.5
#: What befalls a stream's connection: it is lost, or the stream goes on over another.
ConnectionState = Literal["lost", "back"]


class Stream:
    """An open stream; made by ``connect``.

    Iterating yields the server's frames in their order, until the stream ends. What answers a call
    of this object (``configured``, ``pong``, ``reset``) is not among them; ``full_transcript`` is.
    Reading goes on while nobody iterates, so a client may send first and look later.

    Args:
        socket: Connected.
        again: Connects to the same server once more.

    Attributes:
        on_state: Called with "lost" when the connection is, and with "back" when the stream goes on.
    """

    def __init__(
        self, socket: ClientConnection, again: Callable[[], Awaitable[ClientConnection]] | None = None
    ) -> None:
        self.on_state: Callable[[ConnectionState], None] | None = None
        self._socket = socket
        self._again = again
        self._thread: Thread | None = None
        self._values: dict[str, object] = {}
        self._closing = False
        self._inbox: deque[Received] = deque()
        self._news = asyncio.Event()
        self._answers: dict[type, deque[asyncio.Future[Any]]] = {}
        self._failure: ServerError | None = None
        self._last_error: Error | None = None
        self._configured: Configured | None = None
        #: One config at a time: a refusal overtakes answers, and says of no config that it is the one.
        self._configuring = asyncio.Lock()
        self._reader = asyncio.create_task(self._read(), name="echoic stream reader")

    @property
    def configured(self) -> Configured:
        """The values that the server put into force."""
        if self._configured is None:
            raise RuntimeError("The stream is not configured yet.")
        return self._configured

    async def send(self, samples: NDArray[Any]) -> None:
        """Send samples; waits while the server takes no more, also while the connection is lost.

        Args:
            samples: At the stream's ``sample_rate``, any length: floats in -1..1 or integers at full scale
                (int8, int16, int32, uint8), shape ``(n,)`` for mono or ``(n, channels)``, which are averaged.

        Raises:
            TypeError: The samples are neither.
            ValueError: The array has another shape.
            ServerError: The stream has ended.
        """
        for message in as_messages(samples):
            await self._send(message)

    async def send_file(self, source: Path | str | BinaryIO, *, speed: float | None = None) -> None:
        """Send the first audio track of a file; what was sent stays sent if this is given up.

        Args:
            source: Any audio or video file: its path, or the file open for reading bytes.
            speed: How many times as fast as it was spoken; None: as fast as the server takes it.

        Raises:
            UnreadableAudio: The file cannot be opened, or nothing of it can be decoded.
            ServerError: The stream has ended.
        """
        rate = self.configured.sample_rate
        pieces = await asyncio.to_thread(_read_audio, source, rate, PIECE if speed else _LARGE_PIECE)
        async for piece in paced(pieces, rate, speed):
            await self.send(piece)

    async def commit(self) -> str:
        """Have everything sent so far finalised and return the transcript since the last commit.

        Raises:
            ServerError: The stream ended before the answer.
        """
        answer: FullTranscript = await self._ask({"type": "commit"}, FullTranscript)
        return answer.text

    async def reset(self) -> None:
        """Have the server forget everything: transcript empty, clock at zero.

        Raises:
            ServerError: The stream ended before the answer.
        """
        await self._ask({"type": "reset"}, Status)

    async def ping(self) -> float:
        """Return the seconds until the server's ``pong``.

        Raises:
            ServerError: The stream ended before the answer.
        """
        start = time.perf_counter()
        await self._ask({"type": "ping"}, Pong)
        return time.perf_counter() - start

    async def stop(self) -> str:
        """Have what is pending delivered, wait for the server to close, and return the transcript.

        Returns:
            The transcript since the last commit; the finals can still be iterated.

        Raises:
            ServerError: The stream ended in another way.
        """
        transcripts = self._answers.setdefault(FullTranscript, deque())
        answer: asyncio.Future[FullTranscript] = asyncio.get_running_loop().create_future()
        transcripts.append(answer)
        await self._send(_json({"type": "stop"}))
        await asyncio.wait([self._reader])
        if self._failure is not None:
            raise self._failure
        return answer.result().text if answer.done() and not answer.cancelled() else ""

    async def close(self) -> None:
        """Close the connection at once, whatever is pending; does nothing if it is closed."""
        self._closing = True
        if self._thread is not None and self._thread.is_torn:
            self._reader.cancel()
        await self._socket.close()
        await asyncio.wait([self._reader])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        while not self._inbox:
            if self._reader.done():
                if self._failure is not None:
                    raise self._failure
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    def frames(self) -> list[Received]:
        """Return the frames that are there by now, without waiting; iterating goes on after them."""
        return [self._inbox.popleft() for _ in range(len(self._inbox))]

    def put_back(self, frames: Iterable[Received]) -> None:
        """Have these frames read again, before those that are there."""
        self._inbox.extendleft(reversed([*frames]))
        self._news.set()

    async def configure(self, values: Mapping[str, object]) -> None:
        """Send a ``config`` frame and wait until its values are in force; ``connect`` has done it once.

        A call waits until the one before was answered.

        Args:
            values: Keys of the frame.

        Raises:
            ServerError: The server cannot take this configuration (the one before stays), or the
                stream ended before the answer.
        """
        async with self._configuring:
            await self._wait_for_answer(Configured)
            if self._thread is None:
                self._values |= values
            answer = await self._ask({**values, "type": "config"}, Configured)
        if isinstance(answer, Error):
            raise ServerError(answer.code, answer.message, answer.detail)
        self._configured = answer

    async def _wait_for_answer(self, kind: type) -> None:
        """Wait until what this kind of frame answers is answered, also where the call was given up."""
        if waiting := self._answers.get(kind):
            await asyncio.wait([waiting[-1], self._reader], return_when=asyncio.FIRST_COMPLETED)

    async def _ask(self, frame: Mapping[str, object], kind: type) -> Any:  # noqa: ANN401  # an instance of ``kind``
        answer = asyncio.get_running_loop().create_future()
        self._answers.setdefault(kind, deque()).append(answer)
        await self._send(_json(frame))
        await asyncio.wait([answer, self._reader], return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and not answer.cancelled():
            return answer.result()
        raise self._ended

    async def _send(self, message: str | bytes) -> None:
        if self._thread is not None:
            await self._send_by(self._thread, message)
            return
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            await asyncio.wait([self._reader])
            raise self._ended from None
        await asyncio.sleep(0)  # a socket that takes everything never yields, and frames want reading

    async def _send_by(self, thread: Thread, message: str | bytes) -> None:
        """Hand a message to the thread, and one that asks whether all before it arrived, if that is due."""
        if self._reader.done():
            raise self._ended
        thread.put(message, asks=message == _PING)
        if thread.asks_soon:
            self._answers.setdefault(Pong, deque()).append(asyncio.get_running_loop().create_future())
            thread.put(_PING, asks=True)
        room = asyncio.ensure_future(thread.room())
        try:
            await asyncio.wait([room, self._reader], return_when=asyncio.FIRST_COMPLETED)
        finally:
            room.cancel()
        if not room.done():
            raise self._ended

    async def _read(self) -> None:
        try:
            await self._read_socket()
            while self._thread is not None and self._is_torn:
                self._tell("lost")
                for frame in await self._thread.mend():
                    self._answer(frame) if isinstance(frame, Pong) else self._take(frame)
                self._socket = self._thread.socket
                self._tell("back")
                await self._read_socket()
            self._take_last_words()
        except ServerError as error:
            self._failure = error
        finally:
            if self._thread is not None:
                self._thread.end()
            self._settle()

    def _tell(self, state: ConnectionState) -> None:
        if self.on_state is not None:
            asyncio.get_running_loop().call_soon(self.on_state, state)  # what it raises is not the reader's

    async def _read_socket(self) -> None:
        try:
            async for message in self._socket:
                move = None if self._thread is None else self._thread.past.move
                frame, number = read_frame(message, move)
                news: Received | None = frame
                if self._thread is not None:
                    news = self._thread.note(frame, number)
                elif isinstance(frame, Configured):
                    self._thread = self._thread_of(frame, number)
                if news is not None:
                    self._take(news)
                    self._news.set()
        except ConnectionClosed:
            pass  # the close code says what happened
        except ValueError as error:
            self._failure = ServerError("closed", str(error))
            await self._socket.close(1002)

    def _thread_of(self, frame: Configured, number: int | None) -> Thread | None:
        if self._again is None or not isinstance(frame.resume_token, str):
            return None
        thread = Thread(self._socket, self._again, frame, Past(self._values, frame))
        thread.note(frame, number)
        return thread

    def _take_last_words(self) -> None:
        late = self._thread.past.last_words if self._thread is not None else None
        if late is not None and self._socket.close_code == CLOSE_NORMAL:
            self._take(late)

    @property
    def _ended(self) -> ServerError:
        """Why nothing more can be asked of it."""
        return self._failure or ServerError("closed", "The stream has ended.")

    @property
    def _is_torn(self) -> bool:
        ended = self._closing or self._failure is not None or self._last_error is not None
        return not ended and self._socket.close_code in TORN

    def _take(self, frame: Received) -> None:
        if isinstance(frame, Error) and self._is_answer_or_end(frame):
            return
        if isinstance(frame, Configured | Status | Pong):
            if self._answer(frame):
                return
        elif isinstance(frame, FullTranscript):
            self._answer(frame)
        self._inbox.append(frame)

    def _is_answer_or_end(self, error: Error) -> bool:
        if _close_code(error.code) is not None:
            self._last_error = error
            return True
        waiting = self._answers.get(Configured)
        if waiting and error.code not in _OF_AUDIO:
            waiting.popleft().set_result(error)
            return True
        return False

    def _answer(self, frame: Configured | Status | Pong | FullTranscript) -> bool:
        waiting = self._answers.get(type(frame))
        while waiting:
            answer = waiting.popleft()
            if not answer.done():
                answer.set_result(frame)
                return True
        return False

    def _settle(self) -> None:
        code = self._socket.close_code
        error = self._last_error
        if self._closing:
            pass
        elif error is not None:
            self._failure = ServerError(error.code, error.message, error.detail, code)
        elif self._failure is None and code != CLOSE_NORMAL:
            self._failure = ServerError("closed", "The connection to the server was lost.", close_code=code)
        self._news.set()


def _read_audio(source: Path | str | BinaryIO, rate: int, chunk: float) -> Iterator[NDArray[np.float32]]:
    from echoic.media import read_audio  # noqa: PLC0415  # PyAV takes a while to load, and few send files

    return read_audio(source, rate, chunk)


def _close_code(code: str) -> int | None:
    with suppress(ValueError):
        return CLOSE_CODES[ErrorCode(code)]
    return None


def _json(frame: Mapping[str, object]) -> str:
    return msgspec.json.encode(frame).decode()


#: What fails while a config is unanswered, and not because of it.
_OF_AUDIO = frozenset({ErrorCode.BAD_AUDIO, ErrorCode.DECODE_FAILED})
_PING = _json({"type": "ping"})

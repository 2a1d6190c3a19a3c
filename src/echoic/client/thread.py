"""The thread of a session through several connections: what is on its way, and how it is taken up again."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from websockets.exceptions import ConnectionClosed

from echoic.client.failure import ServerError
from echoic.client.incoming import Received, read_frame
from echoic.errors import ErrorCode
from echoic.wire.frames import Configured, Error, Pong, Resumed, Warning  # noqa: A004  # the protocol's word

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from websockets.asyncio.client import ClientConnection

    from echoic.client.past import Past

#: Close codes after which a session may still be there: lost without a close, not heard of for too long, or
#: ended by something in between.
TORN: Final = frozenset({1006, 1011, 1012, 1014})
#: Bytes of messages of which nobody knows yet whether they arrived; more have to wait.
MOST_UNSURE: Final = 2**23
#: After so many bytes, or messages, the server is asked whether they arrived.
_ASK_BYTES: Final = 2**16
_ASK_MESSAGES: Final = 256
#: Seconds between attempts to connect, doubled each time.
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
#: Seconds without any frame after which a connection over which an answer is due counts as lost: something in
#: between swallows what is sent. A server that is only busy is asked again over another, and loses nothing.
DEAF: Final = 30.0
#: Seconds that a server may take to say that a session goes on.
_ANSWER_SECONDS: Final = 10.0
#: Seconds that one may take to load a model for a session that begins anew.
_LOAD_SECONDS: Final = 120.0
#: What beginning fails by when trying again may help: nobody answers, or there is no room now.
_PASSING: Final = frozenset({"unreachable", ErrorCode.SERVER_BUSY, ErrorCode.DRAINING})
_PING: Final = '{"type":"ping"}'


class Thread:
    """One session, whatever connection it runs over.

    Messages are numbered and kept until the server is known to have them: a ``pong`` says so, and so does the
    answer to ``resume``. What it does not have is sent again, in order, before what is new. Where no server
    knows the session any more, another is begun and told what it needs of the past.

    Args:
        socket: Its first connection.
        again: Makes another.
        configured: The answer to its first message, which said that it is resumable.
        past: What is kept of it.
    """

    def __init__(
        self,
        socket: ClientConnection,
        again: Callable[[], Awaitable[ClientConnection]],
        configured: Configured,
        past: Past,
    ) -> None:
        self.socket = socket
        self.past = past
        #: The values in force when it was begun.
        self.configured = configured
        #: Whether it has no connection now.
        self.is_torn = False
        self._again = again
        self._token = configured.resume_token or ""
        self._patience = float(configured.resume_seconds or 0.0)
        self._received = 0
        self._unsure: deque[str | bytes] = deque()
        self._arrived = 1  # messages that the server has: the config
        self._sent = 0  # of the unsure ones, those given to this connection
        self._size = self._since_asked = 0
        self._asked: deque[int] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._noted_at = self._mended_at = 0.0
        self._pause = self._gives_up_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._writer = asyncio.create_task(self._write())

    # ---- messages

    def put(self, message: str | bytes, *, asks: bool) -> None:
        """Have a message sent; one that ``asks`` is a ping."""
        self._unsure.append(message)
        self.past.put(message)
        self._size += len(message)
        self._since_asked += len(message) + _ASK_BYTES // _ASK_MESSAGES
        if asks:
            self._asked.append(self._arrived + len(self._unsure))
            self._since_asked = 0
            self._listen()
        self._news.set()

    @property
    def asks_soon(self) -> bool:
        """Whether the server should be asked what has arrived."""
        return self._since_asked >= _ASK_BYTES

    async def room(self) -> None:
        """Wait until more may be put."""
        await asyncio.sleep(0)
        while self._size > MOST_UNSURE:
            self._room.clear()
            await self._room.wait()

    def note(self, frame: Received, number: int | None) -> Received | None:
        """Note a frame that came; return it, or None if it says again what another session said."""
        if number is not None:
            self._received = number
        self._noted_at = asyncio.get_running_loop().time()
        self._pause = 0.0
        if isinstance(frame, Pong) and self._asked:
            self._forget(self._asked.popleft())
        return self.past.heard(frame)

    def end(self) -> None:
        """Send nothing more."""
        self._writer.cancel()
        self._listen_no_more()

    def _listen(self) -> None:
        """See to it that something is heard from now on while answers are due."""
        if self._alarm is None:
            loop = asyncio.get_running_loop()
            self._noted_at = loop.time()
            self._alarm = loop.call_later(DEAF, self._look_at_clock)

    def _look_at_clock(self) -> None:
        loop = asyncio.get_running_loop()
        silent = loop.time() - self._noted_at
        self._alarm = None
        if self._asked and silent >= DEAF:
            self.socket.transport.abort()
        elif self._asked:
            self._alarm = loop.call_later(DEAF - silent, self._look_at_clock)

    def _listen_no_more(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _forget(self, arrived: int) -> None:
        while self._arrived < arrived:
            self._size -= len(self._unsure.popleft())
            self._arrived += 1
            self._sent -= 1
        self._room.set()

    async def _write(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                while self._sent < len(self._unsure):
                    self._sent += 1  # before it is sent: its answer may come first
                    await self.socket.send(self._unsure[self._sent - 1])
                    await asyncio.sleep(0)  # a socket that takes everything never yields
                self._news.clear()
                await self._news.wait()

    # ---- connections

    async def mend(self) -> list[Received]:
        """Take the session up over another connection, or begin it anew where it is known no more.

        One over which nothing came and that was soon lost was none: the next is waited for ever longer.

        Returns:
            Frames that are to be taken for received: a pong for each message that asked, arrived and was not
            answered; what there is to say of a new beginning.

        Raises:
            ServerError: That cannot be.
        """
        self.is_torn = True
        self.end()
        clock = asyncio.get_running_loop().time
        if clock() - self._mended_at > _LONGEST_PAUSE:
            self._pause = 0.0
        if not self._pause:
            self._gives_up_at = clock() + self._patience
        told: list[Received] | None = None
        while told is None:
            if self._pause:
                if clock() > self._gives_up_at:
                    raise ServerError("closed", "The connection to the server was lost.", close_code=1006)
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads clients, no secret
            self._pause = min(2 * self._pause or _FIRST_PAUSE, _LONGEST_PAUSE)
            told = await self._attempt()
        self._mended_at = clock()
        self.is_torn = False
        self._writer = asyncio.create_task(self._write())
        if self._asked:
            self._listen()
        return told

    async def _attempt(self) -> list[Received] | None:
        """Go on, if that can be now; None: try again later."""
        try:
            if self._token:
                return self._go_on(await self._take_up())
            return await self._begin_anew()
        except (ConnectionClosed, OSError, TimeoutError):
            return None
        except ServerError as error:
            if error.code == ErrorCode.RESUME_FAILED:
                self._token = ""
                return await self._attempt()
            if error.code in _PASSING or error.detail.get("quota") == "concurrent_streams":
                return None
            raise

    async def _take_up(self) -> Resumed:
        wish = {"type": "config", "resume": self._token, "received": self._received}
        answer, _ = await self._greet(wish, _ANSWER_SECONDS)
        if isinstance(answer, Resumed):
            return answer
        self.socket.transport.abort()
        raise ServerError("closed", "The server did not take the stream up again.")

    async def _begin_anew(self) -> list[Received]:
        config = {**self.past.values, "type": "config"}
        configured, warnings = await self._greet(config, _LOAD_SECONDS)
        if not isinstance(configured, Configured):
            self.socket.transport.abort()
            raise ServerError("closed", "The server did not begin the stream anew.")
        self._token = configured.resume_token or ""
        messages = self.past.anew()
        self._unsure = deque(messages)
        if messages and messages[-1] != _PING:
            self._unsure.append(_PING)  # so that what has arrived is known
            self.past.expect("ping")
        self._arrived, self._sent = 1, 0
        self._size, self._since_asked = sum(map(len, self._unsure)), 0
        self._asked = deque(at for at, message in enumerate(self._unsure, start=2) if message == _PING)
        other = configured.active_model != self.configured.active_model
        self.configured = configured
        return warnings if other else []

    async def _greet(
        self, config: Mapping[str, object], patience: float
    ) -> tuple[Resumed | Configured | None, list[Received]]:
        """Open a connection with a config; return the answer to it, and the warnings before."""
        self.socket = await self._again()
        warnings: list[Received] = []
        try:
            async with asyncio.timeout(patience):
                await self.socket.send(msgspec.json.encode(config).decode())
                frame, number = read_frame(await self.socket.recv())
                while isinstance(frame, Warning):
                    warnings.append(frame)
                    frame, number = read_frame(await self.socket.recv())
        except ValueError as error:  # no JSON object
            self.socket.transport.abort()
            raise ServerError("closed", str(error)) from None
        except BaseException:
            self.socket.transport.abort()
            raise
        if isinstance(frame, Error):
            await self.socket.close()
            message = f"The connection was lost, and the server cannot go on with the stream. {frame.message}"
            raise ServerError(frame.code, message, frame.detail, self.socket.close_code)
        if isinstance(frame, Configured):
            self._received = number or 0
        return frame if isinstance(frame, Resumed | Configured) else None, warnings

    def _go_on(self, resumed: Resumed) -> list[Received]:
        self._sent = len(self._unsure)
        self._forget(resumed.received_messages)
        self._sent = 0
        answered: list[Received] = []
        while self._asked and self._asked[0] <= resumed.received_messages:
            self._asked.popleft()  # the answer may have been lost with the connection
            if (pong := self.past.heard(Pong())) is not None:
                answered.append(pong)
        return answered

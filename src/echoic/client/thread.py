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
from echoic.wire.frames import Error, Pong, Resumed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.asyncio.client import ClientConnection

    from echoic.wire.frames import Configured

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
#: Seconds that a server may take to say that a session goes on.
_ANSWER_SECONDS: Final = 10.0
#: What opening a connection fails by when trying again may help.
_UNREACHABLE: Final = "unreachable"


class Thread:
    """One session, whatever connection it runs over.

    Messages are numbered and kept until the server is known to have them: a ``pong`` says so, and so does the
    answer to ``resume``. What it does not have is sent again, in order, before what is new.

    Args:
        socket: Its first connection.
        again: Makes another.
        configured: The answer to its first message, which said that it is resumable.
    """

    def __init__(
        self,
        socket: ClientConnection,
        again: Callable[[], Awaitable[ClientConnection]],
        configured: Configured,
    ) -> None:
        self.socket = socket
        #: Whether it has no connection now.
        self.is_torn = False
        self._again = again
        self._token = configured.resume_token
        self._patience = float(configured.resume_seconds or 0.0)
        self._received = 0
        self._unsure: deque[str | bytes] = deque()
        self._arrived = 1  # messages that the server has: the config
        self._sent = 0  # of the unsure ones, those given to this connection
        self._size = self._since_asked = 0
        self._asked: deque[int] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._writer = asyncio.create_task(self._write())

    # ---- messages

    def put(self, message: str | bytes, *, asks: bool) -> None:
        """Have a message sent; one that ``asks`` is a ping."""
        self._unsure.append(message)
        self._size += len(message)
        self._since_asked += len(message) + _ASK_BYTES // _ASK_MESSAGES
        if asks:
            self._asked.append(self._arrived + len(self._unsure))
            self._since_asked = 0
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

    def note(self, frame: Received, number: int | None) -> None:
        """Note a frame that came."""
        if number is not None:
            self._received = number
        if isinstance(frame, Pong) and self._asked:
            self._forget(self._asked.popleft())

    def end(self) -> None:
        """Send nothing more."""
        self._writer.cancel()

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

    async def mend(self) -> int:
        """Take the session up over another connection.

        Returns:
            Of the messages that asked, how many arrived and were not answered.

        Raises:
            ServerError: That cannot be.
        """
        self.is_torn = True
        self._writer.cancel()
        loop = asyncio.get_running_loop()
        pause, end = _FIRST_PAUSE, loop.time() + self._patience
        while True:
            try:
                resumed = await self._take_up()
            except (ConnectionClosed, OSError, TimeoutError):
                resumed = None
            except ServerError as error:
                if error.code != _UNREACHABLE:
                    raise
                resumed = None
            if resumed is not None:
                break
            if loop.time() > end:
                raise ServerError("closed", "The connection to the server was lost.", close_code=1006)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads clients, no secret
            pause = min(2 * pause, _LONGEST_PAUSE)
        self.is_torn = False
        return self._go_on(resumed)

    async def _take_up(self) -> Resumed:
        self.socket = await self._again()
        wish = {"type": "config", "resume": self._token, "received": self._received}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self.socket.send(msgspec.json.encode(wish).decode())
                frame, _ = read_frame(await self.socket.recv())
        except ValueError as error:  # no JSON object
            self.socket.transport.abort()
            raise ServerError("closed", str(error)) from None
        except BaseException:
            self.socket.transport.abort()
            raise
        if isinstance(frame, Resumed):
            return frame
        await self.socket.close()
        if isinstance(frame, Error):
            message = (
                f"The connection was lost, and the server cannot take the stream up again. {frame.message}"
            )
            raise ServerError(frame.code, message, frame.detail, self.socket.close_code)
        raise ServerError("closed", "The server did not take the stream up again.")

    def _go_on(self, resumed: Resumed) -> int:
        self._sent = len(self._unsure)
        self._forget(resumed.received_messages)
        self._sent = 0
        answered = 0
        while self._asked and self._asked[0] <= resumed.received_messages:
            self._asked.popleft()
            answered += 1
        self._writer = asyncio.create_task(self._write())
        return answered

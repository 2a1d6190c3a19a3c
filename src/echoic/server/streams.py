"""The streams that are open: who may come in, how many there are, and how they all end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from echoic.errors import CLOSE_GOING_AWAY, AccessRefused, ErrorCode

if TYPE_CHECKING:
    from echoic.server.connection import Connection

#: Seconds that streams which are cut off have to send their close.
_LAST_WORDS_SECONDS = 2.0


class Streams:
    """The open streams of a server.

    Args:
        most: Streams at the same time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.draining = False
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def backlog(self) -> float:
        """Seconds of audio heard that finals are due for, of all of them."""
        return sum(connection.backlog for connection in tuple(self._open))

    def admit(self) -> None:
        """Return if one more stream may be opened.

        Raises:
            AccessRefused: The server is full, or about to stop.
        """
        if self.draining:
            raise AccessRefused(
                ErrorCode.DRAINING, "The server is about to stop. Please connect again later."
            )
        if len(self) >= self.most:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                f"The server has {self.most} streams, as many as it may. Please try again later.",
                limit=self.most,
            )

    def enter(self, connection: Connection) -> None:
        """Count a stream as open."""
        self._open.add(connection)
        self._empty.clear()

    def leave(self, connection: Connection) -> None:
        """Count it no more."""
        self._open.discard(connection)
        if not self._open:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until no stream is open."""
        await self._empty.wait()

    async def drain(self, seconds: float) -> None:
        """Refuse new streams, let the open ones deliver what they heard, and wait until they are gone.

        Args:
            seconds: After these a stream that is still open is cut off.
        """
        self.draining = True
        for connection in tuple(self._open):
            connection.end(CLOSE_GOING_AWAY)
        try:
            async with asyncio.timeout(seconds):
                await self.emptied()
        except TimeoutError:
            for connection in tuple(self._open):
                connection.cut(CLOSE_GOING_AWAY)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await self.emptied()

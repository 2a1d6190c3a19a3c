"""The streams that are open: who may come in, how many there are, and how they all end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from echoic.errors import CLOSE_GOING_AWAY, AccessRefused, ErrorCode
from echoic.server.marks import Waters

if TYPE_CHECKING:
    from echoic.server.connection import Connection

#: Seconds that streams which are cut off have to send their close.
_LAST_WORDS_SECONDS = 2.0


class Streams:
    """The open streams of a server.

    Args:
        most: Streams at the same time.
        waters: The audio that they wait for; while there is too much of it nobody else is let in.
        retry: Seconds after which somebody who was turned away may try again.
    """

    def __init__(self, most: int, waters: Waters | None = None, retry: float = 5.0) -> None:
        self.most = most
        self.retry = retry
        self._waters = waters or Waters()
        self.draining = False
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def behind(self) -> int:
        """How many have fallen behind real time."""
        return sum(connection.is_behind for connection in tuple(self._open))

    @property
    def full(self) -> bool:
        """Whether nobody else is let in for now."""
        return len(self) >= self.most or self._waters.are_high

    def admit(self) -> None:
        """Return if one more stream may be opened.

        Raises:
            AccessRefused: The server is full, or about to stop; ``retry_after`` says when to come again.
        """
        if self.draining:
            raise AccessRefused(
                ErrorCode.DRAINING,
                "The server is about to stop. Please connect again later.",
                retry_after=self.retry,
            )
        if len(self) >= self.most:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                f"The server has {self.most} streams, as many as it may. Please try again later.",
                limit=self.most,
                retry_after=self.retry,
            )
        if self._waters.are_high:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "The server has more audio to decode than it can keep up with. Please try again later.",
                retry_after=self.retry,
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

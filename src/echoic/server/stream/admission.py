"""The streams that are open: who may come in, how many there are, and how they all end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from echoic.errors import AccessRefused, ErrorCode
from echoic.protocol.constants import CLOSE_GOING_AWAY
from echoic.server.stream.flow_control import TotalBacklog

#: Seconds that streams which are cut off have to send their close.
_FORCED_CLOSE_SECONDS = 2.0


class OpenStream(Protocol):
    """An open stream, as admission control sees it."""

    @property
    def is_behind(self) -> bool:
        """Whether its finals are late."""

    def end_stream(self, code: int) -> None:
        """Deliver what was heard, then close with ``code``."""

    def close_now(self, code: int) -> None:
        """Close with ``code`` at once."""


class StreamAdmission:
    """The open streams of a server.

    Args:
        max_streams: Streams at the same time.
        total_backlog: The audio that they wait for; while there is too much of it nobody else is let in.
        retry_after: Seconds after which somebody who was turned away may try again.
    """

    def __init__(
        self, max_streams: int, total_backlog: TotalBacklog | None = None, retry_after: float = 5.0
    ) -> None:
        self.max_streams = max_streams
        self.retry_after = retry_after
        self._total_backlog = total_backlog or TotalBacklog()
        self.is_draining = False
        self._open_streams: set[OpenStream] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def __len__(self) -> int:
        return len(self._open_streams)

    @property
    def behind_count(self) -> int:
        """How many have fallen behind real time."""
        return sum(connection.is_behind for connection in tuple(self._open_streams))

    @property
    def is_full(self) -> bool:
        """Whether nobody else is let in for now."""
        return len(self) >= self.max_streams or self._total_backlog.is_high

    def check_admission(self) -> None:
        """Return if one more stream may be opened.

        Raises:
            AccessRefused: The server is full, or about to stop; ``retry_after`` says when to come again.
        """
        if self.is_draining:
            raise AccessRefused(
                ErrorCode.DRAINING,
                "The server is about to stop. Please connect again later.",
                retry_after=self.retry_after,
            )
        if len(self) >= self.max_streams:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                f"The server has {self.max_streams} streams, as many as it may. Please try again later.",
                limit=self.max_streams,
                retry_after=self.retry_after,
            )
        if self._total_backlog.is_high:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "The server has more audio to decode than it can keep up with. Please try again later.",
                retry_after=self.retry_after,
            )

    def add_stream(self, connection: OpenStream) -> None:
        """Count a stream as open."""
        self._open_streams.add(connection)
        self._is_empty.clear()

    def remove_stream(self, connection: OpenStream) -> None:
        """Count it no more."""
        self._open_streams.discard(connection)
        if not self._open_streams:
            self._is_empty.set()

    async def wait_until_empty(self) -> None:
        """Wait until no stream is open."""
        await self._is_empty.wait()

    async def drain(self, seconds: float) -> None:
        """Refuse new streams, let the open ones deliver what they heard, and wait until they are gone.

        Args:
            seconds: After these a stream that is still open is cut off.
        """
        self.is_draining = True
        for connection in tuple(self._open_streams):
            connection.end_stream(CLOSE_GOING_AWAY)
        try:
            async with asyncio.timeout(seconds):
                await self.wait_until_empty()
        except TimeoutError:
            for connection in tuple(self._open_streams):
                connection.close_now(CLOSE_GOING_AWAY)
            with suppress(TimeoutError):
                async with asyncio.timeout(_FORCED_CLOSE_SECONDS):
                    await self.wait_until_empty()

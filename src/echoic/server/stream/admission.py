"""Admission control: limits the open streams of a server, and drains them when the server stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from echoic.errors import AccessRefused, ErrorCode
from echoic.protocol.constants import CLOSE_GOING_AWAY
from echoic.server.stream.flow_control import TotalBacklog

#: Seconds that streams have to send their close frame after ``close_now``.
_FORCED_CLOSE_SECONDS = 2.0


class OpenStream(Protocol):
    """An open stream, as admission control sees it."""

    @property
    def is_behind(self) -> bool:
        """Whether the stream's finals are late."""

    def end_stream(self, code: int) -> None:
        """Deliver the results of the audio so far, then close with ``code``."""

    def close_now(self, code: int) -> None:
        """Close with ``code`` at once."""


class StreamAdmission:
    """The open streams of a server.

    Args:
        max_streams: The most streams at the same time.
        total_backlog: Undecoded audio of all streams; while it is too high, new streams are refused.
        retry_after: Seconds after which a refused client should try again.
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
        """Open streams that have fallen behind real time."""
        return sum(connection.is_behind for connection in tuple(self._open_streams))

    @property
    def is_full(self) -> bool:
        """Whether new streams are refused for now."""
        return len(self) >= self.max_streams or self._total_backlog.is_high

    def check_admission(self) -> None:
        """Check that one more stream may be opened.

        Raises:
            AccessRefused: ``server_busy`` or ``draining``, with ``retry_after`` in seconds.
        """
        if self.is_draining:
            raise AccessRefused(
                ErrorCode.DRAINING,
                "The server is stopping. Connect again later.",
                retry_after=self.retry_after,
            )
        if len(self) >= self.max_streams:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                f"The server has reached its limit of {self.max_streams} streams. Try again later.",
                limit=self.max_streams,
                retry_after=self.retry_after,
            )
        if self._total_backlog.is_high:
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "The server is overloaded: too much audio waits to be decoded. Try again later.",
                retry_after=self.retry_after,
            )

    def add_stream(self, connection: OpenStream) -> None:
        """Add an open stream."""
        self._open_streams.add(connection)
        self._is_empty.clear()

    def remove_stream(self, connection: OpenStream) -> None:
        """Remove a stream that is over."""
        self._open_streams.discard(connection)
        if not self._open_streams:
            self._is_empty.set()

    async def wait_until_empty(self) -> None:
        """Wait until no stream is open."""
        await self._is_empty.wait()

    async def drain(self, seconds: float) -> None:
        """Refuse new streams, let the open ones deliver their results, and wait until all are closed.

        Args:
            seconds: Streams that are still open after this time are closed at once.
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

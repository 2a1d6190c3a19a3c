"""What waits to be sent to one client: bounded, in order, written by one task while there is something."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from echoic.wire.codec import encode_frame
from echoic.wire.frames import Partial, Pong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from typing import Any

    from echoic.server.kept import Record
    from echoic.wire.frames import ServerFrame

    AsgiSend = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: RFC 6455, section 5.5: a close frame carries 125 bytes at most, two of them the code.
_REASON_BYTES: Final = 123
#: The close code of a connection that was lost without one.
CLOSE_ABNORMAL: Final = 1006


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait for a slow client, and how long it may take nothing.

    Attributes:
        frames: Frames.
        size: Characters of JSON.
        seconds: A single send may take this long; then the client counts as gone.
    """

    frames: int = 256
    size: int = 2**20
    seconds: float = 30.0


class Outbox:
    """The frames on their way to one client, or, while there is none, into the record alone.

    Partials are left out while it is full; nothing else ever is. From when it is full until it is half empty
    it asks, by ``crowded``, that the client be read no further, so that what is still to come is bounded by
    what was already heard.

    Args:
        send: ASGI's ``send`` of an accepted connection, or None: ``attach`` brings it.
        bounds: How much may wait.
        moved: Called when there is room again, and when it is over (``code`` is set).
    """

    __slots__ = (
        "_bounds",
        "_crowded",
        "_moved",
        "_send",
        "_size",
        "_waiting",
        "_writer",
        "code",
        "dropped",
        "goodbye",
        "record",
    )

    def __init__(self, send: AsgiSend | None, bounds: Bounds, moved: Callable[[], None]) -> None:
        self._send = send
        self._bounds = bounds
        self._moved = moved
        self._waiting: deque[str | tuple[int, str]] = deque()
        self._size = 0
        self._crowded = False
        self._writer: asyncio.Task[None] | None = None
        #: The close code once the connection is closed or found lost; None while it is open.
        self.code: int | None = None
        #: Partials that were left out.
        self.dropped = 0
        #: The code and reason of the close, once it is asked for.
        self.goodbye: tuple[int, str] | None = None
        #: Where frames are numbered and kept; None: they are not.
        self.record: Record | None = None

    @property
    def full(self) -> bool:
        """Whether as much waits as may."""
        return len(self._waiting) >= self._bounds.frames or self._size >= self._bounds.size

    @property
    def crowded(self) -> bool:
        """Whether it was full and is not half empty yet."""
        return self._crowded

    def put(self, frame: ServerFrame) -> None:
        """Queue a frame; a partial that finds it full is left out."""
        if self.full and isinstance(frame, Partial):
            self.dropped += 1
            return
        text = encode_frame(frame)
        if self.record is not None:  # who takes the session up later needs neither partials nor pongs
            text = self.record.add(text, keep=not isinstance(frame, Partial | Pong))
        self._queue(text)

    def close(self, code: int, reason: str = "") -> None:
        """Close the connection with ``code`` once everything queued is sent."""
        self.goodbye = (code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))
        if self._send is None:
            self._over(code)
        else:
            self._queue(self.goodbye)

    def detach(self) -> None:
        """Write nothing until there is another client; what comes is kept in the record."""
        self.forget()
        self._send = self.code = None
        if self.record is not None:
            self.record.hold()

    def attach(self, send: AsgiSend, first: Iterable[str] = ()) -> None:
        """Write to this client from now on, first these frames."""
        self.forget()
        self._send, self.code = send, None
        for text in first:
            self._queue(text)
        if self.goodbye is not None:
            self._queue(self.goodbye)
        if self.record is not None:
            self.record.release()

    def abandon(self) -> None:
        """Write nothing more; the connection is over."""
        self.code = CLOSE_ABNORMAL if self.code is None else self.code
        self.forget()

    def forget(self) -> None:
        """Drop what waits, also what is being written."""
        self._waiting.clear()
        self._size = 0
        self._crowded = False
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None

    def _queue(self, item: str | tuple[int, str]) -> None:
        if self.code is not None or self._send is None:
            return
        self._waiting.append(item)
        self._size += len(item) if isinstance(item, str) else 0
        self._crowded = self._crowded or self.full
        if self._writer is None:  # a task only while there is something to write: an idle stream has none
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                async with asyncio.timeout(self._bounds.seconds):
                    await self._write_one(self._waiting[0])
                if self._crowded and self._is_half_empty:
                    self._crowded = False
                    self._moved()
        except (OSError, RuntimeError, TimeoutError):  # gone, closed by the transport, or it takes nothing
            self._over(CLOSE_ABNORMAL)
        finally:
            if self._writer is asyncio.current_task():  # a writer that was given up may have a successor
                self._writer = None

    @property
    def _is_half_empty(self) -> bool:
        return 2 * len(self._waiting) <= self._bounds.frames and 2 * self._size <= self._bounds.size

    async def _write_one(self, item: str | tuple[int, str]) -> None:
        if self._send is None:
            return
        if isinstance(item, str):
            await self._send({"type": "websocket.send", "text": item})
            self._size -= len(item)
            self._waiting.popleft()
            return
        code, reason = item
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._over(code)

    def _over(self, code: int) -> None:
        self.code = code
        self._waiting.clear()
        self._size = 0
        self._moved()

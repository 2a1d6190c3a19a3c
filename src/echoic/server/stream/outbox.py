"""Send queue of one client, bounded and in order; keeps sent frames for a client that resumes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.types import Send

from echoic.protocol.codec import encode_frame
from echoic.protocol.constants import CLOSE_ABNORMAL
from echoic.protocol.frames import Partial, Pong, ServerFrame

#: RFC 6455, section 5.5: a close frame carries 125 bytes at most, two of them the code.
_REASON_BYTES: Final = 123
#: Characters that each kept frame counts in addition to its own.
_FRAME_OVERHEAD: Final = 128


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Size of the send queue of a slow client."""

    #: The queue is full at so many frames.
    max_frames: int = 256
    #: The queue is full at so many characters of JSON.
    max_characters: int = 2**20
    #: The client counts as gone when it does not take a frame for this long.
    send_seconds: float = 30.0


class ReplayBuffer:
    """Numbers the frames sent to a client from 1, and keeps the latest of them for a client that resumes.

    Args:
        max_size: Characters of frames to keep.
    """

    __slots__ = ("_frames", "_held_size", "_last_discarded", "_max_size", "_size", "last_number")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._frames: deque[tuple[int, str]] = deque()
        self._size = self._last_discarded = 0
        self._held_size: int | None = None
        #: The number of the last frame.
        self.last_number = 0

    @property
    def has_overflowed(self) -> bool:
        """Whether more than ``max_size`` was added since ``start_holding``."""
        return self._held_size is not None and self._held_size > self._max_size

    def add_frame(self, text: str, *, keep: bool) -> str:
        """Return a frame's JSON with its number.

        Args:
            text: The frame as a JSON object.
            keep: Whether a client that resumes needs it, e.g. not a partial.
        """
        self.last_number += 1
        text = f'{text[:-1]},"seq":{self.last_number}}}'
        if keep:
            self._frames.append((self.last_number, text))
            self._size += len(text) + _FRAME_OVERHEAD
            if self._held_size is None:
                self._discard_excess()
            else:
                self._held_size += len(text) + _FRAME_OVERHEAD
        return text

    def find_frames_after(self, last_received: int) -> list[str] | None:
        """Return the frames after number ``last_received``, or None if one was discarded or never sent."""
        if not self._last_discarded <= last_received <= self.last_number:
            return None
        return [text for number, text in self._frames if number > last_received]

    def start_holding(self) -> None:
        """Discard nothing until ``stop_holding``, as there is no client that receives what is added."""
        self._held_size = 0

    def stop_holding(self) -> None:
        """Discard what exceeds ``max_size``, from now on."""
        self._held_size = None
        self._discard_excess()

    def _discard_excess(self) -> None:
        while self._size > self._max_size:
            self._last_discarded, text = self._frames.popleft()
            self._size -= len(text) + _FRAME_OVERHEAD


class Outbox:
    """Queues the frames for one client, or only keeps them while there is no client.

    A full queue drops partials and no other frame. It is congested from when it is full until it is half
    empty. The client should not be read meanwhile, so that the audio already received bounds the queue.

    Args:
        send: ASGI's ``send`` of an accepted connection, or None until ``attach_client`` is called.
        limits: Size of the queue.
        on_changed: Called when the queue is no longer congested, and when ``close_code`` is set.
    """

    __slots__ = (
        "_is_congested",
        "_limits",
        "_on_changed",
        "_queued",
        "_queued_characters",
        "_send",
        "_writer_task",
        "close_code",
        "dropped_partials",
        "replay_buffer",
        "requested_close",
    )

    def __init__(self, send: Send | None, limits: OutboxLimits, on_changed: Callable[[], None]) -> None:
        self._send = send
        self._limits = limits
        self._on_changed = on_changed
        self._queued: deque[str | tuple[int, str]] = deque()
        self._queued_characters = 0
        self._is_congested = False
        self._writer_task: asyncio.Task[None] | None = None
        #: The close code of the connection; None while it is open.
        self.close_code: int | None = None
        #: Partials that were dropped.
        self.dropped_partials = 0
        #: The code and reason that ``close`` was called with.
        self.requested_close: tuple[int, str] | None = None
        #: Numbers and keeps the frames. If None, the stream is not resumable.
        self.replay_buffer: ReplayBuffer | None = None

    @property
    def is_full(self) -> bool:
        """Whether the queue has reached a limit."""
        return (
            len(self._queued) >= self._limits.max_frames
            or self._queued_characters >= self._limits.max_characters
        )

    @property
    def is_congested(self) -> bool:
        """Whether the queue was full and is not half empty yet."""
        return self._is_congested

    def push_frame(self, frame: ServerFrame) -> None:
        """Queue a frame; a full queue drops a partial."""
        if self.is_full and isinstance(frame, Partial):
            self.dropped_partials += 1
            return
        text = encode_frame(frame)
        if self.replay_buffer is not None:  # partials and pongs are not replayed
            text = self.replay_buffer.add_frame(text, keep=not isinstance(frame, Partial | Pong))
        self._push_item(text)

    def close(self, code: int, reason: str = "") -> None:
        """Close the connection with ``code`` once all queued frames are sent."""
        self.requested_close = (code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))
        if self._send is None:
            self._mark_closed(code)
        else:
            self._push_item(self.requested_close)

    def detach_client(self) -> None:
        """Send nothing until another client is attached; frames are kept in the replay buffer."""
        self.clear_queue()
        self._send = self.close_code = None
        if self.replay_buffer is not None:
            self.replay_buffer.start_holding()

    def attach_client(self, send: Send, first_frames: Iterable[str] = ()) -> None:
        """Send to this client from now on, ``first_frames`` (JSON) before all others."""
        self.clear_queue()
        self._send, self.close_code = send, None
        for text in first_frames:
            self._push_item(text)
        if self.requested_close is not None:
            self._push_item(self.requested_close)
        if self.replay_buffer is not None:
            self.replay_buffer.stop_holding()

    def stop(self) -> None:
        """Send nothing more; the connection is over."""
        self.close_code = CLOSE_ABNORMAL if self.close_code is None else self.close_code
        self.clear_queue()

    def clear_queue(self) -> None:
        """Drop all queued frames, and cancel the send that is under way."""
        self._queued.clear()
        self._queued_characters = 0
        self._is_congested = False
        if self._writer_task is not None:
            self._writer_task.cancel()
            self._writer_task = None

    def _push_item(self, item: str | tuple[int, str]) -> None:
        if self.close_code is not None or self._send is None:
            return
        self._queued.append(item)
        self._queued_characters += len(item) if isinstance(item, str) else 0
        self._is_congested = self._is_congested or self.is_full
        if self._writer_task is None:  # an idle stream has no writer task
            self._writer_task = asyncio.get_running_loop().create_task(self._write_queued())

    async def _write_queued(self) -> None:
        try:
            while self._queued:
                async with asyncio.timeout(self._limits.send_seconds):
                    await self._write_item(self._queued[0])
                if self._is_congested and self._is_half_empty:
                    self._is_congested = False
                    self._on_changed()
        except (OSError, RuntimeError, TimeoutError):  # the client is gone, or takes nothing
            self._mark_closed(CLOSE_ABNORMAL)
        finally:
            if self._writer_task is asyncio.current_task():  # not a cancelled writer that was replaced
                self._writer_task = None

    @property
    def _is_half_empty(self) -> bool:
        return (
            2 * len(self._queued) <= self._limits.max_frames
            and 2 * self._queued_characters <= self._limits.max_characters
        )

    async def _write_item(self, item: str | tuple[int, str]) -> None:
        if self._send is None:
            return
        if isinstance(item, str):
            await self._send({"type": "websocket.send", "text": item})
            self._queued_characters -= len(item)
            self._queued.popleft()
            return
        code, reason = item
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._mark_closed(code)

    def _mark_closed(self, code: int) -> None:
        self.close_code = code
        self._queued.clear()
        self._queued_characters = 0
        self._on_changed()

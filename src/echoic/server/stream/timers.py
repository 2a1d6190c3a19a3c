"""Timers of one stream: idle client, maximum duration, stalled end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from echoic.errors import ErrorCode
from echoic.protocol.constants import CLOSE_GOING_AWAY
from echoic.protocol.frames import Error
from echoic.server.stream.flow_control import FlowControl
from echoic.server.stream.services import StreamLimits
from echoic.session.session import Session

#: Seconds that a failed session may take to deliver the results it still can.
FAILED_CLOSE_SECONDS: Final = 5.0


class StreamTimers:
    """Ends a stream that is idle, lasts too long, or stalls while it ends; runs all its timers.

    Args:
        limits: The stream's limits.
        session: The stream's session; its progress tells whether an end stalls.
        flow: The stream's flow control; a client that is not read is not idle.
        end_stream: Delivers the remaining results and the error, then closes with the code.
        close_now: Closes with the code at once.
    """

    def __init__(
        self,
        limits: StreamLimits,
        session: Session,
        flow: FlowControl,
        end_stream: Callable[[int, Error], None],
        close_now: Callable[[int], None],
    ) -> None:
        self._limits = limits
        self._session = session
        self._flow = flow
        self._end_stream = end_stream
        self._close_now = close_now
        self._handles: dict[Callable[..., None], asyncio.TimerHandle] = {}
        #: When the client's last message came, in seconds of the loop's clock.
        self.last_message_at = 0.0

    def start(self) -> None:
        """Start to watch the client and the duration of the stream."""
        self.record_message()
        self.start_timer(self._limits.idle_seconds, self._check_idle)
        if self._limits.max_seconds:
            self.start_timer(self._limits.max_seconds, self._on_max_duration)

    def record_message(self) -> None:
        """Note that the client sent a message, or reconnected, just now."""
        self.last_message_at = asyncio.get_running_loop().time()

    def watch_end(self, code: int, *, has_failed: bool = False) -> None:
        """Close an ending stream with ``code`` once it stalls, or soon if its session has failed."""
        if has_failed:
            self.start_timer(FAILED_CLOSE_SECONDS, self._close_now, code)
        else:
            self._close_when_stalled(code)

    def start_timer(self, seconds: float, callback: Callable[..., None], *args: int) -> None:
        """Call ``callback`` after ``seconds``, unless it is cancelled before."""
        self._handles[callback] = asyncio.get_running_loop().call_later(seconds, callback, *args)

    def cancel_timer(self, callback: Callable[..., None]) -> None:
        """Cancel the timer of ``callback``, if there is one."""
        handle = self._handles.pop(callback, None)
        if handle is not None:
            handle.cancel()

    def is_running(self, callback: Callable[..., None]) -> bool:
        """Return whether ``callback`` has a timer that was not cancelled."""
        return callback in self._handles

    def cancel_all(self) -> None:
        """Cancel every timer."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _check_idle(self) -> None:
        limit = self._limits.idle_seconds
        silent = asyncio.get_running_loop().time() - self.last_message_at
        if self._flow.is_congested or silent < limit:
            self.start_timer(max(limit - silent, limit / 2), self._check_idle)
            return
        message = f"The client sent nothing for {limit:g} s. Send pings to keep a stream open."
        self._end_stream(CLOSE_GOING_AWAY, Error(code=ErrorCode.IDLE_TIMEOUT, message=message))

    def _on_max_duration(self) -> None:
        limit = self._limits.max_seconds
        message = f"The stream has reached the maximum duration of {limit:g} s. Connect again to continue."
        error = Error(code=ErrorCode.TIME_LIMIT, message=message, detail={"limit": limit})
        self._end_stream(CLOSE_GOING_AWAY, error)

    def _close_when_stalled(self, code: int, delivered: int = -1) -> None:
        """Close now if nothing was delivered since the last call, else check again later."""
        _, now = self._session.progress
        if now == delivered:
            self._close_now(code)
        else:
            self.start_timer(self._limits.closing_seconds, self._close_when_stalled, code, now)

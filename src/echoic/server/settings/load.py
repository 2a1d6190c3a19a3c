"""The settings of how much a server takes on, and what it does when that is too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, Field

from echoic.server.settings.sections import MAX_SECONDS, SERVER
from echoic.server.stream.flow_control import WaterMarks


class LoadSettings(BaseModel):
    """What a server is told about its load; times in seconds.

    Attributes:
        max_sessions: Streams at the same time; more are told ``server_busy``.
        max_backlog_seconds: Audio heard and not yet decoded above which a stream is not read further.
        low_backlog_seconds: Below which it is read again; None: three quarters of that.
        max_total_backlog_seconds: The same of all streams; above it those with more than their share are not
            read, and new ones told ``server_busy``.
        low_total_backlog_seconds: Below which they are again; None: half of that.
        retry_after_seconds: What whoever is told ``server_busy`` is advised to wait.
        falling_behind_seconds: Finals so late are told as ``falling_behind``; at half of it that is over.
        max_audio_rate: Seconds of audio a second that a stream is read at the most; 0: any.
        max_messages_per_second: The same for messages.
        send_queue_frames: Frames that may wait for a slow client before it is not read further.
        send_queue_bytes: Bytes that may wait for it.
        send_timeout_seconds: A client that takes nothing for so long is cut off.
        idle_timeout_seconds: A client that says nothing for so long is told ``idle_timeout``.
        max_stream_seconds: A stream that lasts so long is told ``time_limit``; 0: none is.
        handshake_timeout_seconds: How long a client may take to ask for something.
        ping_timeout_seconds: A client of which nothing at all came so long after a ping is gone.
    """

    max_sessions: Annotated[int, SERVER, Field(ge=1)] = 200
    max_backlog_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 30.0
    low_backlog_seconds: Annotated[float | None, SERVER, Field(gt=0, le=MAX_SECONDS)] = None
    max_total_backlog_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 600.0
    low_total_backlog_seconds: Annotated[float | None, SERVER, Field(gt=0, le=MAX_SECONDS)] = None
    retry_after_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 5.0
    falling_behind_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 4.0
    max_audio_rate: Annotated[float, SERVER, Field(ge=0, le=100_000)] = 30.0
    max_messages_per_second: Annotated[float, SERVER, Field(ge=0, le=100_000)] = 500.0
    send_queue_frames: Annotated[int, SERVER, Field(ge=1)] = 256
    send_queue_bytes: Annotated[int, SERVER, Field(ge=1024)] = 2**20
    send_timeout_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 30.0
    idle_timeout_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 300.0
    max_stream_seconds: Annotated[float, SERVER, Field(ge=0, le=MAX_SECONDS)] = 0.0
    handshake_timeout_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 10.0
    ping_timeout_seconds: Annotated[float, SERVER, Field(gt=0, le=MAX_SECONDS)] = 30.0

    @property
    def backlog_marks(self) -> WaterMarks:
        """Seconds of audio that one stream may wait for."""
        return _build_marks(self.max_backlog_seconds, self.low_backlog_seconds, 0.75)

    @property
    def total_backlog_marks(self) -> WaterMarks:
        """Seconds of audio that all streams may wait for."""
        return _build_marks(self.max_total_backlog_seconds, self.low_total_backlog_seconds, 0.5)


def validate_load(settings: LoadSettings) -> Iterator[str]:
    """Yield what cannot be, in sentences."""
    for name, marks in (("backlog", settings.backlog_marks), ("total_backlog", settings.total_backlog_marks)):
        if marks.low >= marks.high:
            yield f"[Server] low_{name}_seconds should be less than max_{name}_seconds, {marks.high:g}."


def _build_marks(high: float, low: float | None, low_share: float) -> WaterMarks:
    return WaterMarks(high, low_share * high if low is None else low)

"""Counts one stream for the metrics and for its last log event; measures the lag of its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Literal

from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.interfaces.engine import OpenedModel
from echoic.observability.logging import LogValue
from echoic.observability.metrics import Metrics
from echoic.protocol import frames
from echoic.protocol.frames import ClientFrame, ServerFrame

Grant = Callable[[int, int], int | None]

#: Messages are joined to marks of this many seconds of audio. A measured lag is too high by this at most, and
#: exact where messages are longer.
_MARK_SECONDS: Final = 0.05
#: The most marks that are kept: 35 s of audio, more than the highest backlog of a stream.
_MAX_MARKS: Final = 700
#: Seconds by which the rounded times in frames may differ from the sum of the received audio.
_ROUNDING_SECONDS: Final = 1e-3


@dataclass(slots=True)
class _AudioMark:
    """When a stretch of audio was received, from ``start`` to ``end`` in seconds of the session's audio."""

    start: float
    end: float
    #: Seconds of the clock.
    received_at: float
    #: Whether the client ended the window here, e.g. by ``commit``.
    is_window_end: bool = False


class StreamStats:
    """Counts the frames, audio and errors of one stream, and measures the lag of its finals and partials.

    Args:
        metrics: The server's metrics.
        grant: Returns how many of so many samples, at so many Hz, the user's quota allows (see ``Session``);
            None: all.
        clock: Returns seconds of a monotonic clock.
    """

    def __init__(
        self, metrics: Metrics, grant: Grant | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._metrics = metrics
        self._grant = grant
        self._clock = clock
        self._marks: deque[_AudioMark] = deque(maxlen=_MAX_MARKS)
        self._audio_end = 0.0
        self._right_context = 0.0
        self._audio_seconds = 0.0
        self._final_count = 0
        self._last_error: str | None = None
        self._model = ""  # set before audio is counted

    def grant_samples(self, samples: int, rate: int) -> int | None:
        """Return how many of the samples the quota allows, and count them, or None if it is not yet known."""
        granted = samples if self._grant is None else self._grant(samples, rate)
        if granted:
            self._count_audio(granted / rate)
        return granted

    def count_received(self, frame: ClientFrame) -> None:
        """Count a frame from the client."""
        self._metrics.count_received(frame)
        match frame:
            case frames.Reset():
                self._marks.clear()
                self._audio_end = 0.0
            case frames.Commit() | frames.Stop() | frames.Config() if self._marks:
                last = self._marks[-1]
                self._marks.append(_AudioMark(last.end, last.end, self._clock(), is_window_end=True))

    def on_model_opened(self, opened_model: OpenedModel) -> None:
        """Set the model that decodes the stream from now on."""
        self._model = opened_model.name
        self._right_context = opened_model.requirements.right_context

    def count_sent(self, frame: ServerFrame) -> None:
        """Count a frame to the client."""
        self._metrics.count_sent(frame)
        match frame:
            case frames.Final():
                self._final_count += 1
                self._observe_lag("final", frame.segment_end, self._right_context)
                while self._marks and self._marks[0].end < frame.segment_end:
                    self._marks.popleft()
            case frames.Partial():
                self._observe_lag("partial", frame.segment_end, 0.0)
            case frames.Error():
                self._last_error = frame.code

    def count_dropped_partials(self, partials: int) -> None:
        """Count partials that were dropped as the client was slow."""
        self._metrics.dropped_partials.inc(partials)

    def summarize_end(self, code: int) -> dict[str, LogValue]:
        """Count the end of the stream; return the values of its last log event."""
        self._metrics.count_close(code)
        reason = (
            self._last_error
            if self._last_error and CLOSE_CODES[ErrorCode(self._last_error)] == code
            else None
        )
        return {
            "model": self._model or None,
            "heard": round(self._audio_seconds, 3),
            "finals": self._final_count,
            "code": code,
            "reason": reason,
        }

    def _count_audio(self, seconds: float) -> None:
        self._audio_seconds += seconds
        self._audio_end += seconds
        self._metrics.count_audio(self._model, seconds)
        last = self._marks[-1] if self._marks else None
        if last is not None and not last.is_window_end and self._audio_end - last.start < _MARK_SECONDS:
            last.end = self._audio_end
        else:
            self._marks.append(_AudioMark(self._audio_end - seconds, self._audio_end, self._clock()))

    def _observe_lag(self, kind: Literal["final", "partial"], end: float, right_context: float) -> None:
        """Measure the time since the audio was received that completed the window of a result."""
        mark = self._find_completing_mark(end, right_context)
        if mark is not None:
            self._metrics.observe_lag(kind, self._model, self._clock() - mark.received_at)

    def _find_completing_mark(self, end: float, right_context: float) -> _AudioMark | None:
        """Return the mark that completed a window ending at ``end``: audio, or a frame that ended it."""
        audio: _AudioMark | None = None
        for mark in self._marks:
            if audio is not None:
                return mark if mark.is_window_end and mark.end <= end + _ROUNDING_SECONDS else audio
            if mark.end >= (end if mark.is_window_end else end + right_context) - _ROUNDING_SECONDS:
                if mark.is_window_end:
                    return mark
                audio = mark
        return audio

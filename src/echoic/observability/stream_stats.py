"""What one stream did: for the metrics, and for the line that the log has of it at its end."""

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

#: Seconds of audio that are remembered as one: lag is told too high by that at most, and not at all where
#: messages are longer.
_MARK_SECONDS: Final = 0.05
#: Steps that are remembered: 35 s, more than may be heard and not yet decoded.
_MAX_MARKS: Final = 700
#: Seconds by which the times in frames, which are rounded, may differ from sums of what was heard.
_ROUNDING_SECONDS: Final = 1e-3


@dataclass(slots=True)
class _AudioMark:
    """When audio was heard, from ``start`` to ``end`` on the session's clock; if a window ended there too."""

    start: float
    end: float
    heard_at: float
    is_window_end: bool = False


class StreamStats:
    """Counts one stream.

    Args:
        metrics: Of the server.
        grant_samples: What the session may hear (see ``Session``), or None: everything.
        clock: Seconds, for the lag.
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
        self._model = ""  # there is one before anything is heard

    def grant_samples(self, samples: int, rate: int) -> int | None:
        """Return how many of the samples may be heard, and count them."""
        granted = samples if self._grant is None else self._grant(samples, rate)
        if granted:
            self._count_audio(granted / rate)
        return granted

    def count_received(self, frame: ClientFrame) -> None:
        """Count a frame of the client."""
        self._metrics.count_received(frame)
        match frame:
            case frames.Reset():
                self._marks.clear()
                self._audio_end = 0.0
            case frames.Commit() | frames.Stop() | frames.Config() if (
                self._marks
            ):  # what was heard is finalised now
                last = self._marks[-1]
                self._marks.append(_AudioMark(last.end, last.end, self._clock(), is_window_end=True))

    def on_model_opened(self, opened_model: OpenedModel) -> None:
        """Note the model that the stream has from now on."""
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
        """Count partials that a slow client did not get."""
        self._metrics.dropped_partials.inc(partials)

    def summarize_end(self, code: int) -> dict[str, LogValue]:
        """Count the end of the stream; return what the log is to say of it."""
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
        """Count the time since the window was complete whose words are sent."""
        mark = self._find_completing_mark(end, right_context)
        if mark is not None:
            self._metrics.observe_lag(kind, self._model, self._clock() - mark.heard_at)

    def _find_completing_mark(self, end: float, right_context: float) -> _AudioMark | None:
        """Return what completed a window that ends at ``end``: audio, or the wish to end it just there."""
        audio: _AudioMark | None = None
        for mark in self._marks:
            if audio is not None:
                return mark if mark.is_window_end and mark.end <= end + _ROUNDING_SECONDS else audio
            if mark.end >= (end if mark.is_window_end else end + right_context) - _ROUNDING_SECONDS:
                if mark.is_window_end:
                    return mark
                audio = mark
        return audio

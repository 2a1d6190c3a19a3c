"""What one stream did: for the metrics, and for the line that the log has of it at its end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, Literal

from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.wire import frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from echoic.server.log import Value
    from echoic.server.metrics import Metrics
    from echoic.session.effects import ModelAnswer
    from echoic.wire.frames import ClientFrame, ServerFrame

    Grant = Callable[[int, int], int | None]

#: Seconds of audio that are remembered as one: lag is told too high by that at most, and not at all where
#: messages are longer.
_STEP: Final = 0.05
#: Steps that are remembered: 35 s, more than may be heard and not yet decoded.
_MOST: Final = 700
#: Seconds by which the times in frames, which are rounded, may differ from sums of what was heard.
_ROUNDED: Final = 1e-3


@dataclass(slots=True)
class _Mark:
    """When audio was heard, from ``start`` to ``end`` on the session's clock; if a window ended there too."""

    start: float
    end: float
    time: float
    ended: bool = False


class Tally:
    """Counts one stream.

    Args:
        metrics: Of the server.
        grant: What the session may hear (see ``Session``), or None: everything.
        clock: Seconds, for the lag.
    """

    def __init__(
        self, metrics: Metrics, grant: Grant | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._metrics = metrics
        self._grant = grant
        self._clock = clock
        self._marks: deque[_Mark] = deque(maxlen=_MOST)
        self._at = 0.0
        self._right = 0.0
        self._heard = 0.0
        self._finals = 0
        self._error: str | None = None
        self._model = ""  # there is one before anything is heard

    def grant(self, samples: int, rate: int) -> int | None:
        """Return how many of the samples may be heard, and count them."""
        granted = samples if self._grant is None else self._grant(samples, rate)
        if granted:
            self._hear(granted / rate)
        return granted

    def received(self, frame: ClientFrame) -> None:
        """Count a frame of the client."""
        self._metrics.received(frame)
        match frame:
            case frames.Reset():
                self._marks.clear()
                self._at = 0.0
            case frames.Commit() | frames.Stop() | frames.Config() if (
                self._marks
            ):  # what was heard is finalised now
                last = self._marks[-1]
                self._marks.append(_Mark(last.end, last.end, self._clock(), ended=True))

    def answered(self, answer: ModelAnswer) -> None:
        """Note the model that the stream has from now on."""
        self._model = answer.name
        self._right = answer.needs.right_context

    def sent(self, frame: ServerFrame) -> None:
        """Count a frame to the client."""
        self._metrics.sent(frame)
        match frame:
            case frames.Final():
                self._finals += 1
                self._lag("final", frame.segment_end, self._right)
                while self._marks and self._marks[0].end < frame.segment_end:
                    self._marks.popleft()
            case frames.Partial():
                self._lag("partial", frame.segment_end, 0.0)
            case frames.Error():
                self._error = frame.code

    def left_out(self, partials: int) -> None:
        """Count partials that a slow client did not get."""
        self._metrics.dropped.inc(partials)

    def ended(self, code: int) -> dict[str, Value]:
        """Count the end of the stream; return what the log is to say of it."""
        self._metrics.closed(code)
        reason = self._error if self._error and CLOSE_CODES[ErrorCode(self._error)] == code else None
        return {
            "model": self._model or None,
            "heard": round(self._heard, 3),
            "finals": self._finals,
            "code": code,
            "reason": reason,
        }

    def _hear(self, seconds: float) -> None:
        self._heard += seconds
        self._at += seconds
        self._metrics.heard(self._model, seconds)
        last = self._marks[-1] if self._marks else None
        if last is not None and not last.ended and self._at - last.start < _STEP:
            last.end = self._at
        else:
            self._marks.append(_Mark(self._at - seconds, self._at, self._clock()))

    def _lag(self, kind: Literal["final", "partial"], end: float, right: float) -> None:
        """Count the time since the window was complete whose words are sent."""
        mark = self._completing(end, right)
        if mark is not None:
            self._metrics.lag(kind, self._model, self._clock() - mark.time)

    def _completing(self, end: float, right: float) -> _Mark | None:
        """Return what completed a window that ends at ``end``: audio, or the wish to end it just there."""
        audio: _Mark | None = None
        for mark in self._marks:
            if audio is not None:
                return mark if mark.ended and mark.end <= end + _ROUNDED else audio
            if mark.end >= (end if mark.ended else end + right) - _ROUNDED:
                if mark.ended:
                    return mark
                audio = mark
        return audio

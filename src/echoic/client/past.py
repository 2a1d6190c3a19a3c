"""What a server told of a session: where it is lost and begun anew, only the rest is to be told."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from echoic.client.said import ROUNDED, Log
from echoic.errors import ErrorCode
from echoic.units import TIME_DECIMALS
from echoic.wire import frames
from echoic.wire.frames import (
    Configured,
    DiarizationSummary,
    Error,
    FullTranscript,
    Insight,
    Partial,
    Pong,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echoic.client.incoming import Received
    from echoic.client.said import Kind

#: Seconds before the last final that are heard again at least: a server that begins there stands, at that
#: final, where the lost one stood. The longest utterance of any engine is shorter.
LEAD: Final = 30.0
#: Leads that are kept at most. So much is forgotten then that a session would begin between one and
#: one and a half leads back, in a pause if there is one: engines that hear utterances cut them there too.
_MOST: Final = 2.0
_CHOICE: Final = 1.5
#: Seconds; a new session begins at a multiple, counted from the last change of rate or model: detectors hear
#: in steps of 32 ms, recognisers of 80 ms, and what they hear depends a little on where these fall.
_GRID: Final = 0.16
#: Seconds after which audio that arrived, and that no final came of, is taken for silence.
SILENCE: Final = 120.0
#: The last digit of times.
_DIGIT: Final = 10.0**-TIME_DECIMALS
#: Keys whose values are seconds on the session's clock.
_MOMENTS: Final = frozenset(
    {
        "segment_start",
        "segment_end",
        "chunk_start",
        "chunk_end",
        "cumulative_audio",
        "start",
        "end",
        "spoken_start",
        "spoken_end",
    }
)
#: Keys whose values are ids of finals, or count them.
_COUNTS: Final = frozenset({"segment_id", "total_segments"})
_REFUSALS: Final = frozenset({ErrorCode.INVALID_CONFIG, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.BAD_JSON})


class Past:
    """What was said since a moment at which a window began, and what came of it.

    When a session is lost, another that is told all of it delivers what the lost one would have; what was
    delivered before is left out, and clock, ids and transcript go on.

    Args:
        values: Of the config that the session began with.
        configured: The answer.
    """

    def __init__(self, values: Mapping[str, object], configured: Configured) -> None:
        self._log = Log(values, configured)
        self._configured = configured
        self._again: Counter[Kind] = Counter()
        self._texts: list[str] = []
        self._is_new = False
        self._repeats = False  # the last commit that was answered was said again
        self._insights_due = 0  # of commits whose transcripts were told
        self._from_zero()

    def _from_zero(self) -> None:
        self._shift, self._id_shift = 0.0, 0  # from the server's clock and ids to ours
        self._last_id = 0
        self._said: Counter[str] = Counter()
        self._place = (-1.0, -1.0)  # end and start of the last window that is known to be delivered
        self._marks: deque[float] = deque()

    # ---- what is said

    def put(self, message: str | bytes) -> None:
        """Note a message that is sent, or will be."""
        self._log.put(message, self._configured.sample_rate)

    @property
    def values(self) -> Mapping[str, object]:
        """The config that another session is to begin with."""
        return self._log.values

    def anew(self) -> list[str | bytes]:
        """Return the messages that another session is to be told, and expect its frames."""
        said = self._log.again()
        self._again = Counter(one.kind for one in said if one.answer is not None)
        self._shift, self._id_shift = self._log.start, self._last_id
        self._is_new = True
        return [one.message for one in said]

    def expect(self, kind: Kind) -> None:
        """Expect an answer that nobody waits for."""
        self._again[kind] += 1

    # ---- what is heard

    def move(self, body: Any) -> None:  # noqa: ANN401  # what JSON may be
        """Bring the times and ids in a server's frame to the clock of the first session."""
        if isinstance(body, list):
            for one in body:
                self.move(one)
        if not isinstance(body, dict) or not self._is_new:
            return
        for key, value in body.items():
            if key == "segment_range" and isinstance(value, list):
                body[key] = [one + self._id_shift if isinstance(one, int) else one for one in value]
            elif isinstance(value, dict | list):
                self.move(value)
            elif isinstance(value, bool) or not isinstance(value, int | float):
                continue
            elif key in _MOMENTS:
                body[key] = self._moved(value)
            elif key in _COUNTS:
                body[key] = value + self._id_shift

    def _moved(self, second: float) -> float:
        """Return a time on the clock: that of a sample, if it is one but for rounding.

        After a change of the rate, samples lie between those that were counted from zero.
        """
        rate, moved = self._configured.sample_rate, second + self._shift
        nearest = round(moved * rate) / rate
        return round(nearest if abs(nearest - moved) < 2 * _DIGIT else moved, TIME_DECIMALS)

    def heard(self, frame: Received) -> Received | None:
        """Note a frame; return it as it is to be told, or None: it was told before."""
        judge = self._JUDGES.get(type(frame))
        return frame if judge is None else judge(self, frame)

    @property
    def last_words(self) -> FullTranscript | None:
        """The transcript that a session which was stopped owes, if it began anew and knew of no words."""
        owes = self._is_new and self._log.waits("stop") and self._texts
        return FullTranscript(text=" ".join(self._texts)) if owes else None

    def _final(self, frame: frames.Final) -> frames.Final | None:
        end, start = frame.segment_end, frame.segment_start
        if self._is_new and end <= self._place[0] + ROUNDED and start <= self._place[1] + ROUNDED:
            self._id_shift -= frame.segment_id - self._last_id
            return None
        self._last_id = frame.segment_id
        self._texts.append(frame.text)
        self._delivered(end, start)
        return frame

    def _partial(self, frame: Partial) -> Partial | None:
        return None if self._is_new and frame.segment_start < self._place[0] - ROUNDED else frame

    def _warning(self, frame: frames.Warning) -> frames.Warning | None:
        return None if self._again["config"] else frame

    def _transcript(self, frame: FullTranscript) -> FullTranscript | None:
        self._repeats = self._is_repeated("commit") or self._is_repeated("stop")
        if self._repeats:
            return None
        self._insights_due += 1
        said = self._log.answer("commit", frame)
        if said is not None:
            self._delivered(said.at, said.at)
        else:
            self._log.answer("stop", frame)
        text, self._texts = " ".join(self._texts), []
        if not self._is_new:
            return frame
        return replace(frame, text=text) if text or said is not None else None

    def _config(self, frame: Configured) -> Configured | None:
        if self._is_repeated("config"):
            return None
        said, before = self._log.answer("config", frame), self._configured
        self._configured = frame
        if said is not None:
            self._place = max(self._place, (said.at, said.at))
            if (before.sample_rate, before.active_model) != (frame.sample_rate, frame.active_model):
                self._log.change(said.at)
        return frame

    def _summary(self, frame: DiarizationSummary) -> DiarizationSummary | None:
        if self._repeats:  # of the finals that were said again, not of the commit's
            return None
        ids = [one.segment_id for one in frame.speaker_map]
        return frame if self._is_news("speakers", max(ids, default=self._last_id)) else None

    def _insight(self, frame: Insight) -> Insight | None:
        if frame.stage == "final":
            due, self._insights_due = self._insights_due, max(0, self._insights_due - 1)
            return frame if due or not self._is_new else None
        return frame if self._is_news(frame.stage, frame.source.segment_range[1]) else None

    def _is_news(self, kind: str, last: int) -> bool:
        """Return whether something was not said yet of the finals up to this one."""
        before, self._said[kind] = self._said[kind], max(last, self._said[kind])
        return not self._is_new or last > before

    def _status(self, frame: Status) -> Status:
        if frame.state != "reset":
            return frame
        said = self._log.answer("reset", frame)
        if said is not None:
            self._log.begin_after(said)
        self._from_zero()
        self._texts = []
        return frame

    def _pong(self, frame: Pong) -> Pong | None:
        if self._is_repeated("ping"):
            return None
        said = self._log.answer("ping", frame)
        if said is not None and not self._log.waits("reset"):
            self._pass_silence(said.at)
        return frame

    def _error(self, frame: Error) -> Error | None:
        if frame.code in _REFUSALS:
            self._refuse(frame)
        end = frame.detail.get("end")
        is_old = self._is_new and isinstance(end, float) and end <= self._place[0] + ROUNDED
        return None if is_old and frame.code == ErrorCode.DECODE_FAILED else frame

    def _refuse(self, frame: Error) -> None:
        """Note which config is meant.

        What is wrong with a config is answered at once, before earlier ones that are said again. Whether
        there is its model is answered in order.
        """
        in_order = frame.code == ErrorCode.MODEL_UNAVAILABLE or not self._log.waits("config")
        if not (in_order and self._is_repeated("config")):
            self._log.answer("config", frame)

    def _is_repeated(self, kind: Kind) -> bool:
        if not self._again[kind]:
            return False
        self._again[kind] -= 1
        return True

    # ---- what can be forgotten

    def _delivered(self, end: float, start: float) -> None:
        """Note that everything up to here was delivered."""
        self._place = max(self._place, (end, start))
        self._marks.append(end)
        if self._log.start < end - _MOST * LEAD and not self._log.waits("reset"):
            before = [mark for mark in self._marks if mark <= end - LEAD]
            recent = [mark for mark in before if mark >= end - _CHOICE * LEAD] or before[-1:]
            if recent:
                self._forget(min(recent, key=self._log.loudness))

    def _pass_silence(self, arrived: float) -> None:
        """Forget audio of which no words came: windows without any send no final."""
        ended, now = max(self._place[0], 0.0), self._configured
        step = now.chunk_duration - now.overlap_duration
        first = ended or now.overlap_duration
        windows = int((arrived - SILENCE - first) / step)
        if windows > 0 and first + windows * step > self._log.start + LEAD:
            self._forget(first + windows * step)

    def _forget(self, second: float) -> None:
        """Let the log begin shortly before the end of a window, which a commit then ends again just there."""
        base = self._log.base_at(second)
        start = base + (math.ceil((second - base) / _GRID - ROUNDED) - 1) * _GRID
        if start <= self._log.start or self._log.answered_to <= second or self._log.waits("reset"):
            return
        while self._marks and self._marks[0] <= second:
            self._marks.popleft()
        self._log.begin(start, second)

    _JUDGES: ClassVar[Mapping[type, Callable[..., Received | None]]] = {
        frames.Final: _final,
        frames.Warning: _warning,
        Configured: _config,
        DiarizationSummary: _summary,
        Insight: _insight,
        Error: _error,
        FullTranscript: _transcript,
        Partial: _partial,
        Pong: _pong,
        Status: _status,
    }

"""What was said to a server and heard of it, as far back as a session can be begun anew from there."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import msgspec
import numpy as np

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

    Kind = Literal["audio", "ping", "commit", "config", "reset", "stop"]

#: Seconds before the last final that are heard again at least: a server that begins there stands, at that
#: final, where the lost one stood. The longest utterance of any engine is shorter.
LEAD: Final = 30.0
#: Leads that are kept at most. So much is forgotten then that a session would begin between one and
#: one and a half leads back, in a pause if there is one: engines that hear utterances cut them there too.
_MOST: Final = 2.0
_CHOICE: Final = 1.5
#: Seconds on each side of such an end that are to be quiet.
_QUIET: Final = 0.25
#: Seconds; a new session begins at a multiple, counted from the last change of rate or model: detectors hear
#: in steps of 32 ms, recognisers of 80 ms, and what they hear depends a little on where these fall.
_GRID: Final = 0.16
_COMMIT: Final = '{"type":"commit"}'
#: Seconds after which audio that arrived, and that no final came of, is taken for silence.
SILENCE: Final = 120.0
#: Seconds by which times of one place may differ.
_ROUNDED: Final = 1e-5
#: The last digit of times.
_DIGIT: Final = 10.0**-TIME_DECIMALS
#: Bytes of a sample: this client sends mono float32.
_SAMPLE: Final = 4
#: Keys whose values are seconds on the session's clock.
_MOMENTS: Final = frozenset(
    {"segment_start", "segment_end", "chunk_start", "chunk_end", "cumulative_audio", "start", "end"}
)
#: Keys whose values are ids of finals, or count them.
_COUNTS: Final = frozenset({"segment_id", "total_segments"})
_REFUSALS: Final = frozenset({ErrorCode.INVALID_CONFIG, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.BAD_JSON})


@dataclass(slots=True)
class _Said:
    """A message: ``at`` is the second on the clock at which it begins; what hears it began at ``base``."""

    message: str | bytes
    kind: Kind
    at: float
    rate: int
    base: float
    answer: Received | None = None

    @property
    def end(self) -> float:
        return self.at + len(self.message) / _SAMPLE / self.rate if self.kind == "audio" else self.at


class Past:
    """What was said since a moment at which a window began, and what came of it.

    When a session is lost, another that is told all of it delivers what the lost one would have; what was
    delivered before is left out, and clock, ids and transcript go on.

    Args:
        values: Of the config that the session began with.
        configured: The answer.
    """

    def __init__(self, values: Mapping[str, object], configured: Configured) -> None:
        self._values = _in_force(values, configured)
        self._configured = configured
        self._log: deque[_Said] = deque()
        self._open: dict[Kind, deque[_Said]] = {}
        self._again: Counter[Kind] = Counter()
        self._texts: list[str] = []
        self._is_new = False
        self._base = 0.0  # where the rate or the model changed last: detectors and recognisers began there
        self._from_zero()

    def _from_zero(self) -> None:
        self._start = self._end = 0.0  # of the log, on the clock
        self._shift, self._id_shift = 0.0, 0  # from the server's clock and ids to ours
        self._last_id = 0
        self._said: Counter[str] = Counter()
        self._place = (-1.0, -1.0)  # end and start of the last window that is known to be delivered
        self._marks: deque[float] = deque()

    # ---- what is said

    def put(self, message: str | bytes) -> None:
        """Note a message that is sent, or will be."""
        kind: Kind = "audio" if isinstance(message, bytes) else msgspec.json.decode(message)["type"]
        said = _Said(message, kind, self._end, self._configured.sample_rate, self._base)
        self._log.append(said)
        if kind != "audio":
            self._open.setdefault(kind, deque()).append(said)
        self._end = said.end
        if kind == "reset":
            self._end = self._base = 0.0

    @property
    def values(self) -> Mapping[str, object]:
        """The config that another session is to begin with."""
        return self._values

    def anew(self) -> list[str | bytes]:
        """Return the messages that another session is to be told, and expect its frames."""
        said = [one for one in self._log if one.answer is None or one.kind in ("commit", "config", "stop")]
        said = [one for one in said if not isinstance(one.answer, Error)]
        self._again = Counter(one.kind for one in said if one.answer is not None)
        self._shift, self._id_shift = self._start, self._last_id
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
            if key == "segment_range":
                body[key] = [one + self._id_shift for one in value]
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
        owes = self._is_new and self._open.get("stop") and self._texts
        return FullTranscript(text=" ".join(self._texts)) if owes else None

    def _final(self, frame: frames.Final) -> frames.Final | None:
        end, start = frame.segment_end, frame.segment_start
        if self._is_new and end <= self._place[0] + _ROUNDED and start <= self._place[1] + _ROUNDED:
            self._id_shift -= frame.segment_id - self._last_id
            return None
        self._last_id = frame.segment_id
        self._texts.append(frame.text)
        self._delivered(end, start)
        return frame

    def _partial(self, frame: Partial) -> Partial | None:
        return None if self._is_new and frame.segment_start < self._place[0] - _ROUNDED else frame

    def _warning(self, frame: frames.Warning) -> frames.Warning | None:
        return None if self._again["config"] else frame

    def _transcript(self, frame: FullTranscript) -> FullTranscript | None:
        if self._is_repeated("commit") or self._is_repeated("stop"):
            return None
        said = self._answered("commit", frame)
        if said is not None:
            self._delivered(said.at, said.at)
        else:
            self._answered("stop", frame)
        text, self._texts = " ".join(self._texts), []
        if not self._is_new:
            return frame
        return replace(frame, text=text) if text or said is not None else None

    def _config(self, frame: Configured) -> Configured | None:
        if self._is_repeated("config"):
            return None
        said, before = self._answered("config", frame), self._configured
        self._configured = frame
        if said is not None:
            self._place = max(self._place, (said.at, said.at))
            if (before.sample_rate, before.active_model) != (frame.sample_rate, frame.active_model):
                self._hear_from(said.at)
        return frame

    def _hear_from(self, second: float) -> None:
        """Note that others hear from here on; the server counts on from this time."""
        if "reset" in self._open:
            return  # they are gone with it
        self._base = round(second, TIME_DECIMALS)
        if self._end == second:
            self._end = self._base

    def _summary(self, frame: DiarizationSummary) -> DiarizationSummary | None:
        ids = [one.segment_id for one in frame.speaker_map]
        return frame if self._is_news("speakers", max(ids, default=self._last_id)) else None

    def _insight(self, frame: Insight) -> Insight | None:
        return frame if self._is_news(frame.stage, frame.source.segment_range[1]) else None

    def _is_news(self, kind: str, last: int) -> bool:
        """Return whether something was not said yet of the finals up to this one."""
        before, self._said[kind] = self._said[kind], max(last, self._said[kind])
        return not self._is_new or last > before

    def _status(self, frame: Status) -> Status:
        if frame.state != "reset":
            return frame
        said = self._answered("reset", frame)
        while said is not None and (gone := self._log.popleft()) is not said:
            self._put_in_force(gone)
        end = self._end
        self._from_zero()
        self._end = end  # what was said after it
        self._texts = []
        return frame

    def _pong(self, frame: Pong) -> Pong | None:
        if self._is_repeated("ping"):
            return None
        said = self._answered("ping", frame)
        if said is not None and "reset" not in self._open:
            self._pass_silence(said.at)
        return frame

    def _error(self, frame: Error) -> Error | None:
        if frame.code in _REFUSALS:
            self._refuse(frame)
        end = frame.detail.get("end")
        is_old = self._is_new and isinstance(end, float) and end <= self._place[0] + _ROUNDED
        return None if is_old and frame.code == ErrorCode.DECODE_FAILED else frame

    def _refuse(self, frame: Error) -> None:
        """Note which config is meant.

        What is wrong with a config is answered at once, before earlier ones that are said again. Whether
        there is its model is answered in order.
        """
        in_order = frame.code == ErrorCode.MODEL_UNAVAILABLE or "config" not in self._open
        if not (in_order and self._is_repeated("config")):
            self._answered("config", frame)

    def _is_repeated(self, kind: Kind) -> bool:
        if not self._again[kind]:
            return False
        self._again[kind] -= 1
        return True

    def _answered(self, kind: Kind, frame: Received) -> _Said | None:
        waiting = self._open.get(kind)
        if not waiting:
            return None
        said = waiting.popleft()
        said.answer = frame
        if not waiting:
            del self._open[kind]
        return said

    # ---- what can be forgotten

    def _delivered(self, end: float, start: float) -> None:
        """Note that everything up to here was delivered."""
        self._place = max(self._place, (end, start))
        self._marks.append(end)
        if self._start < end - _MOST * LEAD and "reset" not in self._open:
            before = [mark for mark in self._marks if mark <= end - LEAD]
            recent = [mark for mark in before if mark >= end - _CHOICE * LEAD] or before[-1:]
            if recent:
                self._forget(min(recent, key=self._loudness))

    def _loudness(self, second: float) -> float:
        """Return how much there is to hear around here."""
        heard = 0.0
        first = bisect_right(self._log, second - _QUIET, key=lambda said: said.at) - 1
        for said in islice(self._log, max(0, first), None):
            if said.at >= second + _QUIET:
                break
            if said.kind == "audio":
                places = (round((at - said.at) * said.rate) for at in (second - _QUIET, second + _QUIET))
                start, end = (max(0, place) for place in places)
                part = np.frombuffer(said.message, "<f4")[start:end]  # type: ignore[arg-type]  # audio is bytes
                heard += float(np.square(part).sum()) / said.rate
        return heard

    def _pass_silence(self, arrived: float) -> None:
        """Forget audio of which no words came: windows without any send no final."""
        ended, now = max(self._place[0], 0.0), self._configured
        step = now.chunk_duration - now.overlap_duration
        first = ended or now.overlap_duration
        windows = int((arrived - SILENCE - first) / step)
        if windows > 0 and first + windows * step > self._start + LEAD:
            self._forget(first + windows * step)

    def _forget(self, second: float) -> None:
        """Let the log begin shortly before the end of a window, which a commit then ends again just there."""
        waiting = (one.at for kind in self._open.values() for one in kind)
        base = self._base_at(second)
        start = base + (math.ceil((second - base) / _GRID - _ROUNDED) - 1) * _GRID
        if start <= self._start or min(waiting, default=self._end) <= second or "reset" in self._open:
            return
        while self._marks and self._marks[0] <= second:
            self._marks.popleft()
        for said in self._before(start):
            self._put_in_force(said)
        self._start = self._log[0].at if self._log else second
        rate, answer = self._configured.sample_rate, FullTranscript(text="")
        commit = _Said(_COMMIT, "commit", second, rate, base, answer)
        self._log.extendleft(reversed([*self._before(second), commit]))

    def _base_at(self, second: float) -> float:
        """Return where those began to hear that heard what lies shortly before a second."""
        at = bisect_left(self._log, second - _ROUNDED, key=lambda said: said.at)
        return self._log[max(0, at - 1)].base if self._log else self._base

    def _put_in_force(self, said: _Said) -> None:
        """Take a config that is said no more into the one that a session begins with."""
        if said.kind == "config" and isinstance(said.answer, Configured):
            values = msgspec.json.decode(said.message)
            self._values = _in_force(_merged(self._values, values), said.answer)

    def _before(self, second: float) -> list[_Said]:
        """Take what was said before a second from the log; a message is cut there, on a whole sample."""
        taken = []
        while self._log and self._log[0].end <= second + _ROUNDED:
            taken.append(self._log.popleft())
        if self._log and self._log[0].at < second - _ROUNDED:
            first = self._log[0]
            samples = round((second - first.at) * first.rate)
            taken.append(replace(first, message=first.message[: samples * _SAMPLE]))
            at = first.at + samples / first.rate
            self._log[0] = replace(first, message=first.message[samples * _SAMPLE :], at=at)
        return taken

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


def _merged(values: Mapping[str, object], more: Mapping[str, object]) -> dict[str, object]:
    """Return what two configs say; one that names a model and no variant forgets the variant."""
    given = {key: value for key, value in more.items() if value is not None and key != "type"}
    variants = {"model_variant", "variant"} if given.keys() & {"model", "model_variant", "variant"} else set()
    return {key: value for key, value in values.items() if key not in variants} | given


def _in_force(values: Mapping[str, object], configured: Configured) -> dict[str, object]:
    """Return a config with the durations that came of it: one by one they might not fit."""
    durations = {
        "chunk_duration": configured.chunk_duration,
        "overlap_duration": configured.overlap_duration,
    }
    return {**values, **durations}

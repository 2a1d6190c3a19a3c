"""What was said to a server, as far back as a session can be begun anew from there."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Final, Literal

import msgspec
import numpy as np

from echoic.client.messages import ReceivedFrame
from echoic.errors import ErrorCode
from echoic.protocol import frames
from echoic.protocol.frames import (
    Configured,
    DiarizationSummary,
    Error,
    FullTranscript,
    Insight,
    Partial,
    Pong,
    Status,
)
from echoic.units import TIME_DECIMALS

MessageKind = Literal["audio", "ping", "commit", "config", "reset", "stop"]

#: Seconds by which times of one place may differ.
TIME_TOLERANCE: Final = 1e-5
#: Seconds on each side of a place of which the loudness is asked.
_LOUDNESS_RADIUS: Final = 0.25
#: Bytes of a sample: this client sends mono float32.
_SAMPLE_BYTES: Final = 4
_COMMIT_MESSAGE: Final = '{"type":"commit"}'


@dataclass(slots=True)
class SentMessage:
    """A message.

    Attributes:
        message: As it was sent.
        kind: Its type.
        at: Second on the clock at which it begins.
        sample_rate: Of its samples, in Hz.
        clock_base: Second at which those began to hear that hear it: zero, or the last change of rate or model.
        answer: The frame that answered it.
    """

    message: str | bytes
    kind: MessageKind
    at: float
    sample_rate: int
    clock_base: float
    answer: ReceivedFrame | None = None

    @property
    def end(self) -> float:
        """Second on the clock at which it ends."""
        return (
            self.at + len(self.message) / _SAMPLE_BYTES / self.sample_rate
            if self.kind == "audio"
            else self.at
        )


class SentLog:
    """Messages in the order in which they were said, and their answers.

    Args:
        config: Of the config that the session began with.
        configured: The answer.
    """

    def __init__(self, config: Mapping[str, object], configured: Configured) -> None:
        #: The config in force where the log begins.
        self.config = _resolve_config(config, configured)
        #: Where it begins, in seconds on the clock.
        self.start = 0.0
        self._end = self._clock_base = 0.0
        self._messages: deque[SentMessage] = deque()
        self._unanswered: dict[MessageKind, deque[SentMessage]] = {}

    def append(self, message: str | bytes, sample_rate: int) -> None:
        """Note a message; ``sample_rate`` is that of samples, in Hz."""
        kind: MessageKind = "audio" if isinstance(message, bytes) else msgspec.json.decode(message)["type"]
        said = SentMessage(message, kind, self._end, sample_rate, self._clock_base)
        self._messages.append(said)
        if kind != "audio":
            self._unanswered.setdefault(kind, deque()).append(said)
        self._end = said.end
        if kind == "reset":
            self._end = self._clock_base = 0.0

    def has_unanswered(self, kind: MessageKind) -> bool:
        """Return whether a message of this kind is unanswered."""
        return kind in self._unanswered

    @property
    def answered_until(self) -> float:
        """The second on the clock up to which everything that asks is answered."""
        return min((one.at for kind in self._unanswered.values() for one in kind), default=self._end)

    def record_answer(self, kind: MessageKind, frame: ReceivedFrame) -> SentMessage | None:
        """Note the answer to the first message of its kind that has none; return that message, if any."""
        waiting = self._unanswered.get(kind)
        if not waiting:
            return None
        said = waiting.popleft()
        said.answer = frame
        if not waiting:
            del self._unanswered[kind]
        return said

    def list_replayable(self) -> list[SentMessage]:
        """Return what is to be said again: all but what was refused, and what only asked and was answered."""
        said = [
            one for one in self._messages if one.answer is None or one.kind in ("commit", "config", "stop")
        ]
        return [one for one in said if not isinstance(one.answer, Error)]

    def set_clock_base(self, second: float) -> None:
        """Note that others hear from here on; the server counts on from this time, rounded."""
        if "reset" in self._unanswered:
            return  # they are gone with it
        self._clock_base = round(second, TIME_DECIMALS)
        if self._end == second:
            self._end = self._clock_base

    def find_clock_base(self, second: float) -> float:
        """Return where those began to hear that heard what lies shortly before a second."""
        at = bisect_left(self._messages, second - TIME_TOLERANCE, key=lambda said: said.at)
        return self._messages[max(0, at - 1)].clock_base if self._messages else self._clock_base

    def measure_loudness(self, second: float) -> float:
        """Return how much there is to hear around here."""
        heard = 0.0
        first = bisect_right(self._messages, second - _LOUDNESS_RADIUS, key=lambda said: said.at) - 1
        for said in islice(self._messages, max(0, first), None):
            if said.at >= second + _LOUDNESS_RADIUS:
                break
            if said.kind == "audio":
                places = (
                    round((at - said.at) * said.sample_rate)
                    for at in (second - _LOUDNESS_RADIUS, second + _LOUDNESS_RADIUS)
                )
                start, end = (max(0, place) for place in places)
                part = np.frombuffer(said.message, "<f4")[start:end]  # type: ignore[arg-type]  # audio is bytes
                heard += float(np.square(part).sum()) / said.sample_rate
        return heard

    # ---- what is forgotten

    def restart_after(self, reset: SentMessage) -> None:
        """Forget what was said up to a reset; the clock begins there."""
        while (gone := self._messages.popleft()) is not reset:
            self._apply_config(gone)
        self.start = 0.0

    def discard_before(self, start: float, end: float) -> None:
        """Forget what was said before ``start``, and say a commit at ``end``, where a window ended."""
        base = self.find_clock_base(end)
        for said in self._pop_before(start):
            self._apply_config(said)
        self.start = self._messages[0].at if self._messages else end
        lead = self._pop_before(end)
        self._messages.extendleft(
            reversed([*lead, SentMessage(_COMMIT_MESSAGE, "commit", end, 1, base, FullTranscript(text=""))])
        )

    def _pop_before(self, second: float) -> list[SentMessage]:
        """Take what was said before a second; a message is cut there, on a whole sample."""
        taken = []
        while self._messages and self._messages[0].end <= second + TIME_TOLERANCE:
            taken.append(self._messages.popleft())
        if self._messages and self._messages[0].at < second - TIME_TOLERANCE:
            first = self._messages[0]
            samples = round((second - first.at) * first.sample_rate)
            taken.append(replace(first, message=first.message[: samples * _SAMPLE_BYTES]))
            at = first.at + samples / first.sample_rate
            self._messages[0] = replace(first, message=first.message[samples * _SAMPLE_BYTES :], at=at)
        return taken

    def _apply_config(self, message: SentMessage) -> None:
        """Take a config that is said no more into the one that a session begins with."""
        if message.kind == "config" and isinstance(message.answer, Configured):
            values = msgspec.json.decode(message.message)
            self.config = _resolve_config(_merge_configs(self.config, values), message.answer)


def _merge_configs(config: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return what two configs say; one that names a model and no variant forgets the variant."""
    given = {key: value for key, value in changes.items() if value is not None and key != "type"}
    variants = {"model_variant", "variant"} if given.keys() & {"model", "model_variant", "variant"} else set()
    return {key: value for key, value in config.items() if key not in variants} | given


def _resolve_config(config: Mapping[str, object], configured: Configured) -> dict[str, object]:
    """Return a config with the durations that came of it: one by one they might not fit."""
    durations = {
        "chunk_duration": configured.chunk_duration,
        "overlap_duration": configured.overlap_duration,
    }
    return {**config, **durations}


#: Seconds before the last final that are heard again at least: a server that begins there stands, at that
#: final, where the lost one stood. The longest utterance of any engine is shorter.
REPLAY_LEAD: Final = 30.0
#: Leads that are kept at most. So much is forgotten then that a session would begin between one and
#: one and a half leads back, in a pause if there is one: engines that hear utterances cut them there too.
_MAX_LEADS: Final = 2.0
_MAX_START_LEADS: Final = 1.5
#: Seconds; a new session begins at a multiple, counted from the last change of rate or model: detectors hear
#: in steps of 32 ms, recognisers of 80 ms, and what they hear depends a little on where these fall.
_REPLAY_GRID: Final = 0.16
#: Seconds after which audio that arrived, and that no final came of, is taken for silence.
SILENCE_SECONDS: Final = 120.0
#: The last digit of times.
_TIME_RESOLUTION: Final = 10.0**-TIME_DECIMALS
#: Keys whose values are seconds on the session's clock.
_TIME_KEYS: Final = frozenset(
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
_SEGMENT_ID_KEYS: Final = frozenset({"segment_id", "total_segments"})
_CONFIG_ERROR_CODES: Final = frozenset(
    {ErrorCode.INVALID_CONFIG, ErrorCode.MODEL_UNAVAILABLE, ErrorCode.BAD_JSON}
)


class FrameReplayFilter:
    """What was said since a moment at which a window began, and what came of it.

    When a session is lost, another that is told all of it delivers what the lost one would have; what was
    delivered before is left out, and clock, ids and transcript go on.

    Args:
        config: Of the config that the session began with.
        configured: The answer.
    """

    def __init__(self, config: Mapping[str, object], configured: Configured) -> None:
        self._sent_log = SentLog(config, configured)
        self._configured = configured
        self._expected_repeats: Counter[MessageKind] = Counter()
        self._final_texts: list[str] = []
        self._is_replaying = False
        self._is_commit_repeated = False  # the last commit that was answered was said again
        self._pending_insights = 0  # of commits whose transcripts were told
        self._reset_clock()

    def _reset_clock(self) -> None:
        self._time_shift, self._id_shift = 0.0, 0  # from the server's clock and ids to ours
        self._last_segment_id = 0
        self._seen_segments: Counter[str] = Counter()
        self._last_delivered = (-1.0, -1.0)  # end and start of the last window that is known to be delivered
        self._segment_ends: deque[float] = deque()

    # ---- what is said

    def record_message(self, message: str | bytes) -> None:
        """Note a message that is sent, or will be."""
        self._sent_log.append(message, self._configured.sample_rate)

    @property
    def config(self) -> Mapping[str, object]:
        """The config that another session is to begin with."""
        return self._sent_log.config

    def replay_messages(self) -> list[str | bytes]:
        """Return the messages that another session is to be told, and expect its frames."""
        said = self._sent_log.list_replayable()
        self._expected_repeats = Counter(one.kind for one in said if one.answer is not None)
        self._time_shift, self._id_shift = self._sent_log.start, self._last_segment_id
        self._is_replaying = True
        return [one.message for one in said]

    def expect_answer(self, kind: MessageKind) -> None:
        """Expect an answer that nobody waits for."""
        self._expected_repeats[kind] += 1

    # ---- what is heard

    def shift_times(self, body: Any) -> None:  # noqa: ANN401  # what JSON may be
        """Bring the times and ids in a server's frame to the clock of the first session."""
        if isinstance(body, list):
            for one in body:
                self.shift_times(one)
        if not isinstance(body, dict) or not self._is_replaying:
            return
        for key, value in body.items():
            if key == "segment_range" and isinstance(value, list):
                body[key] = [one + self._id_shift if isinstance(one, int) else one for one in value]
            elif isinstance(value, dict | list):
                self.shift_times(value)
            elif isinstance(value, bool) or not isinstance(value, int | float):
                continue
            elif key in _TIME_KEYS:
                body[key] = self._shift_time(value)
            elif key in _SEGMENT_ID_KEYS:
                body[key] = value + self._id_shift

    def _shift_time(self, second: float) -> float:
        """Return a time on the clock: that of a sample, if it is one but for rounding.

        After a change of the rate, samples lie between those that were counted from zero.
        """
        rate, moved = self._configured.sample_rate, second + self._time_shift
        nearest = round(moved * rate) / rate
        return round(nearest if abs(nearest - moved) < 2 * _TIME_RESOLUTION else moved, TIME_DECIMALS)

    def filter_frame(self, frame: ReceivedFrame) -> ReceivedFrame | None:
        """Note a frame; return it as it is to be told, or None: it was told before."""
        judge = self._HANDLERS.get(type(frame))
        return frame if judge is None else judge(self, frame)

    @property
    def owed_transcript(self) -> FullTranscript | None:
        """The transcript that a session which was stopped owes, if it began anew and knew of no words."""
        owes = self._is_replaying and self._sent_log.has_unanswered("stop") and self._final_texts
        return FullTranscript(text=" ".join(self._final_texts)) if owes else None

    def _on_final(self, frame: frames.Final) -> frames.Final | None:
        end, start = frame.segment_end, frame.segment_start
        if (
            self._is_replaying
            and end <= self._last_delivered[0] + TIME_TOLERANCE
            and start <= self._last_delivered[1] + TIME_TOLERANCE
        ):
            self._id_shift -= frame.segment_id - self._last_segment_id
            return None
        self._last_segment_id = frame.segment_id
        self._final_texts.append(frame.text)
        self._record_delivery(end, start)
        return frame

    def _on_partial(self, frame: Partial) -> Partial | None:
        return (
            None
            if self._is_replaying and frame.segment_start < self._last_delivered[0] - TIME_TOLERANCE
            else frame
        )

    def _on_warning(self, frame: frames.Warning) -> frames.Warning | None:
        return None if self._expected_repeats["config"] else frame

    def _on_full_transcript(self, frame: FullTranscript) -> FullTranscript | None:
        self._is_commit_repeated = self._take_repeat("commit") or self._take_repeat("stop")
        if self._is_commit_repeated:
            return None
        self._pending_insights += 1
        said = self._sent_log.record_answer("commit", frame)
        if said is not None:
            self._record_delivery(said.at, said.at)
        else:
            self._sent_log.record_answer("stop", frame)
        text, self._final_texts = " ".join(self._final_texts), []
        if not self._is_replaying:
            return frame
        return replace(frame, text=text) if text or said is not None else None

    def _on_configured(self, frame: Configured) -> Configured | None:
        if self._take_repeat("config"):
            return None
        said, before = self._sent_log.record_answer("config", frame), self._configured
        self._configured = frame
        if said is not None:
            self._last_delivered = max(self._last_delivered, (said.at, said.at))
            if (before.sample_rate, before.active_model) != (frame.sample_rate, frame.active_model):
                self._sent_log.set_clock_base(said.at)
        return frame

    def _on_diarization_summary(self, frame: DiarizationSummary) -> DiarizationSummary | None:
        if self._is_commit_repeated:  # of the finals that were said again, not of the commit's
            return None
        ids = [one.segment_id for one in frame.speaker_map]
        return frame if self._mark_seen("speakers", max(ids, default=self._last_segment_id)) else None

    def _on_insight(self, frame: Insight) -> Insight | None:
        if frame.stage == "final":
            due, self._pending_insights = self._pending_insights, max(0, self._pending_insights - 1)
            return frame if due or not self._is_replaying else None
        return frame if self._mark_seen(frame.stage, frame.source.segment_range[1]) else None

    def _mark_seen(self, kind: str, last: int) -> bool:
        """Return whether something was not said yet of the finals up to this one."""
        before, self._seen_segments[kind] = self._seen_segments[kind], max(last, self._seen_segments[kind])
        return not self._is_replaying or last > before

    def _on_status(self, frame: Status) -> Status:
        if frame.state != "reset":
            return frame
        said = self._sent_log.record_answer("reset", frame)
        if said is not None:
            self._sent_log.restart_after(said)
        self._reset_clock()
        self._final_texts = []
        return frame

    def _on_pong(self, frame: Pong) -> Pong | None:
        if self._take_repeat("ping"):
            return None
        said = self._sent_log.record_answer("ping", frame)
        if said is not None and not self._sent_log.has_unanswered("reset"):
            self._discard_silence(said.at)
        return frame

    def _on_error(self, frame: Error) -> Error | None:
        if frame.code in _CONFIG_ERROR_CODES:
            self._record_refusal(frame)
        end = frame.detail.get("end")
        is_old = (
            self._is_replaying and isinstance(end, float) and end <= self._last_delivered[0] + TIME_TOLERANCE
        )
        return None if is_old and frame.code == ErrorCode.DECODE_FAILED else frame

    def _record_refusal(self, frame: Error) -> None:
        """Note which config is meant.

        What is wrong with a config is answered at once, before earlier ones that are said again. Whether
        there is its model is answered in order.
        """
        in_order = frame.code == ErrorCode.MODEL_UNAVAILABLE or not self._sent_log.has_unanswered("config")
        if not (in_order and self._take_repeat("config")):
            self._sent_log.record_answer("config", frame)

    def _take_repeat(self, kind: MessageKind) -> bool:
        if not self._expected_repeats[kind]:
            return False
        self._expected_repeats[kind] -= 1
        return True

    # ---- what can be forgotten

    def _record_delivery(self, end: float, start: float) -> None:
        """Note that everything up to here was delivered."""
        self._last_delivered = max(self._last_delivered, (end, start))
        self._segment_ends.append(end)
        if self._sent_log.start < end - _MAX_LEADS * REPLAY_LEAD and not self._sent_log.has_unanswered(
            "reset"
        ):
            before = [mark for mark in self._segment_ends if mark <= end - REPLAY_LEAD]
            recent = [mark for mark in before if mark >= end - _MAX_START_LEADS * REPLAY_LEAD] or before[-1:]
            if recent:
                self._discard_before(min(recent, key=self._sent_log.measure_loudness))

    def _discard_silence(self, arrived: float) -> None:
        """Forget audio of which no words came: windows without any send no final."""
        ended, now = max(self._last_delivered[0], 0.0), self._configured
        step = now.chunk_duration - now.overlap_duration
        first = ended or now.overlap_duration
        windows = int((arrived - SILENCE_SECONDS - first) / step)
        if windows > 0 and first + windows * step > self._sent_log.start + REPLAY_LEAD:
            self._discard_before(first + windows * step)

    def _discard_before(self, second: float) -> None:
        """Let the log begin shortly before the end of a window, which a commit then ends again just there."""
        base = self._sent_log.find_clock_base(second)
        start = base + (math.ceil((second - base) / _REPLAY_GRID - TIME_TOLERANCE) - 1) * _REPLAY_GRID
        if (
            start <= self._sent_log.start
            or self._sent_log.answered_until <= second
            or self._sent_log.has_unanswered("reset")
        ):
            return
        while self._segment_ends and self._segment_ends[0] <= second:
            self._segment_ends.popleft()
        self._sent_log.discard_before(start, second)

    _HANDLERS: ClassVar[Mapping[type, Callable[..., ReceivedFrame | None]]] = {
        frames.Final: _on_final,
        frames.Warning: _on_warning,
        Configured: _on_configured,
        DiarizationSummary: _on_diarization_summary,
        Insight: _on_insight,
        Error: _on_error,
        FullTranscript: _on_full_transcript,
        Partial: _on_partial,
        Pong: _on_pong,
        Status: _on_status,
    }

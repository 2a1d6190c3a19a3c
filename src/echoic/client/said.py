"""What was said to a server, as far back as a session can be begun anew from there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from echoic.units import TIME_DECIMALS
from echoic.wire.frames import Configured, Error, FullTranscript

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoic.client.incoming import ReceivedFrame

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

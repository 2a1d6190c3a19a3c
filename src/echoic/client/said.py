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

    from echoic.client.incoming import Received

    Kind = Literal["audio", "ping", "commit", "config", "reset", "stop"]

#: Seconds by which times of one place may differ.
ROUNDED: Final = 1e-5
#: Seconds on each side of a place of which the loudness is asked.
_AROUND: Final = 0.25
#: Bytes of a sample: this client sends mono float32.
_SAMPLE: Final = 4
_COMMIT: Final = '{"type":"commit"}'


@dataclass(slots=True)
class Said:
    """A message.

    Attributes:
        message: As it was sent.
        kind: Its type.
        at: Second on the clock at which it begins.
        rate: Of its samples, in Hz.
        base: Second at which those began to hear that hear it: zero, or the last change of rate or model.
        answer: The frame that answered it.
    """

    message: str | bytes
    kind: Kind
    at: float
    rate: int
    base: float
    answer: Received | None = None

    @property
    def end(self) -> float:
        """Second on the clock at which it ends."""
        return self.at + len(self.message) / _SAMPLE / self.rate if self.kind == "audio" else self.at


class Log:
    """Messages in the order in which they were said, and their answers.

    Args:
        values: Of the config that the session began with.
        configured: The answer.
    """

    def __init__(self, values: Mapping[str, object], configured: Configured) -> None:
        #: The config in force where the log begins.
        self.values = _in_force(values, configured)
        #: Where it begins, in seconds on the clock.
        self.start = 0.0
        self._end = self._base = 0.0
        self._said: deque[Said] = deque()
        self._open: dict[Kind, deque[Said]] = {}

    def put(self, message: str | bytes, rate: int) -> None:
        """Note a message; ``rate`` is that of samples, in Hz."""
        kind: Kind = "audio" if isinstance(message, bytes) else msgspec.json.decode(message)["type"]
        said = Said(message, kind, self._end, rate, self._base)
        self._said.append(said)
        if kind != "audio":
            self._open.setdefault(kind, deque()).append(said)
        self._end = said.end
        if kind == "reset":
            self._end = self._base = 0.0

    def waits(self, kind: Kind) -> bool:
        """Return whether a message of this kind is unanswered."""
        return kind in self._open

    @property
    def answered_to(self) -> float:
        """The second on the clock up to which everything that asks is answered."""
        return min((one.at for kind in self._open.values() for one in kind), default=self._end)

    def answer(self, kind: Kind, frame: Received) -> Said | None:
        """Note the answer to the first message of its kind that has none; return that message, if any."""
        waiting = self._open.get(kind)
        if not waiting:
            return None
        said = waiting.popleft()
        said.answer = frame
        if not waiting:
            del self._open[kind]
        return said

    def again(self) -> list[Said]:
        """Return what is to be said again: all but what was refused, and what only asked and was answered."""
        said = [one for one in self._said if one.answer is None or one.kind in ("commit", "config", "stop")]
        return [one for one in said if not isinstance(one.answer, Error)]

    def change(self, second: float) -> None:
        """Note that others hear from here on; the server counts on from this time, rounded."""
        if "reset" in self._open:
            return  # they are gone with it
        self._base = round(second, TIME_DECIMALS)
        if self._end == second:
            self._end = self._base

    def base_at(self, second: float) -> float:
        """Return where those began to hear that heard what lies shortly before a second."""
        at = bisect_left(self._said, second - ROUNDED, key=lambda said: said.at)
        return self._said[max(0, at - 1)].base if self._said else self._base

    def loudness(self, second: float) -> float:
        """Return how much there is to hear around here."""
        heard = 0.0
        first = bisect_right(self._said, second - _AROUND, key=lambda said: said.at) - 1
        for said in islice(self._said, max(0, first), None):
            if said.at >= second + _AROUND:
                break
            if said.kind == "audio":
                places = (round((at - said.at) * said.rate) for at in (second - _AROUND, second + _AROUND))
                start, end = (max(0, place) for place in places)
                part = np.frombuffer(said.message, "<f4")[start:end]  # type: ignore[arg-type]  # audio is bytes
                heard += float(np.square(part).sum()) / said.rate
        return heard

    # ---- what is forgotten

    def begin_after(self, reset: Said) -> None:
        """Forget what was said up to a reset; the clock begins there."""
        while (gone := self._said.popleft()) is not reset:
            self._put_in_force(gone)
        self.start = 0.0

    def begin(self, start: float, end: float) -> None:
        """Forget what was said before ``start``, and say a commit at ``end``, where a window ended."""
        base = self.base_at(end)
        for said in self._take(start):
            self._put_in_force(said)
        self.start = self._said[0].at if self._said else end
        lead = self._take(end)
        self._said.extendleft(
            reversed([*lead, Said(_COMMIT, "commit", end, 1, base, FullTranscript(text=""))])
        )

    def _take(self, second: float) -> list[Said]:
        """Take what was said before a second; a message is cut there, on a whole sample."""
        taken = []
        while self._said and self._said[0].end <= second + ROUNDED:
            taken.append(self._said.popleft())
        if self._said and self._said[0].at < second - ROUNDED:
            first = self._said[0]
            samples = round((second - first.at) * first.rate)
            taken.append(replace(first, message=first.message[: samples * _SAMPLE]))
            at = first.at + samples / first.rate
            self._said[0] = replace(first, message=first.message[samples * _SAMPLE :], at=at)
        return taken

    def _put_in_force(self, said: Said) -> None:
        """Take a config that is said no more into the one that a session begins with."""
        if said.kind == "config" and isinstance(said.answer, Configured):
            values = msgspec.json.decode(said.message)
            self.values = _in_force(_merged(self.values, values), said.answer)


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

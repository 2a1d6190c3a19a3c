"""One stream as a state machine: frames and answers in, effects out.

It has no clock, thread, socket, model or logger. The same audio gives the same finals however it is
cut into messages and however slow the machine is.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, ClassVar, assert_never

from echoic.errors import CLOSE_NORMAL, DecodeFailed, ModelUnavailable, ProtocolError
from echoic.session.config import StreamConfig, read_config
from echoic.session.effects import Again, Close, Decode, Drop, ModelRequest, OpenModel, Send
from echoic.session.lines import Line, audio_bytes
from echoic.session.render import configured, decode_failed, error_frame, final_frame, partial_frame, warnings
from echoic.session.stretch import Plan, Slot, Stretch
from echoic.session.wording import reworded
from echoic.text.transcript import Transcript
from echoic.units import to_samples, to_seconds
from echoic.wire.frames import Audio, Auth, Commit, Config, FullTranscript, Ping, Pong, Reset, Status, Stop
from echoic.wire.pcm import read_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from echoic.audio.speech import VoiceActivity
    from echoic.session.effects import Effect, ModelAnswer
    from echoic.text.hypothesis import Hypothesis
    from echoic.wire.frames import ClientFrame, Error, ServerFrame

#: Seconds of audio that one call works through before it asks to be called ``Again``: a message may
#: hold minutes, and the voice-activity model would keep everyone else waiting.
_BITE = 2.0
#: Frames other than audio, or replies to them, that may wait before a client should not be read further.
_MOST_WAITING = 64
#: Audio frames that may wait; half a minute in messages of 20 ms.
_MOST_AUDIO = 1_500
_MICRO = 1_000_000
#: A window is decoded at most this often before it is given up.
_ATTEMPTS = 2


class State(Enum):
    """What the session is doing."""

    LIVE = auto()  # hears and answers
    BUSY = auto()  # waits for a model, or has audio left to work through; what comes queues
    ENDING = auto()  # delivers what was heard, then closes
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class _Reply:
    """A frame that waits for its turn behind earlier segments."""

    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class _Transcript:
    """The transcript is due here; unless ``always``, only if there is one."""

    always: bool


@dataclass(frozen=True, slots=True)
class _Afresh:
    """The session starts afresh here."""


@dataclass(frozen=True, slots=True)
class _Goodbye:
    """The connection closes here."""

    code: int


@dataclass(frozen=True, slots=True)
class _End:
    """The driver's wish to end, which waits like a frame while the session is busy."""

    code: int
    error: Error | None = None


def _all(samples: int, _: int) -> int:
    return samples


_Item = Plan | _Reply | _Transcript | _Afresh | _Goodbye


def _microseconds(item: _Item) -> int:
    """Return how much audio waits with an item; never 0 for a plan, whose decodes are waited for."""
    if not isinstance(item, Plan):
        return 0
    return max(1, round(_MICRO * to_seconds(item.span.end - item.span.start, item.stretch.segments.rate)))


class Session:
    """A stream of audio from its first frame to its close.

    Args:
        voice: Makes the voice-activity detector of a stretch of audio, or None: no speech gate,
            every window is decoded.
        defaults: The settings before any ``config`` frame.
        grant: Asked with a number of samples and their rate before they are heard: how many of them may be.
            None: not known yet, it is asked again after an ``Again``. Fewer: no more will ever be.
    """

    def __init__(
        self,
        voice: Callable[[], VoiceActivity] | None = None,
        defaults: StreamConfig | None = None,
        grant: Callable[[int, int], int | None] | None = None,
    ) -> None:
        self._voice = voice
        self._grant = grant or _all
        self._config = defaults or StreamConfig()
        self._state = State.LIVE
        self._stretch: Stretch | None = None
        self._asked: tuple[StreamConfig, tuple[str, ...] | None] | None = None
        self._rest: NDArray[np.float32] | None = None
        self._refused: ModelRequest | None = None
        self._waiting: Line[ClientFrame | _End] = Line(audio_bytes)
        self._outbox: Line[_Item] = Line(_microseconds)
        self._closed = 0
        self._partial: Plan | None = None
        self._partial_mark = 0
        self._running: dict[int, tuple[Plan, Slot]] = {}
        self._keys = itertools.count(1)
        self._finals = 0
        self._transcript = Transcript()
        #: A partial is asked for at every so manieth place where one is due; finals do not depend on it.
        self.partial_pace = 1

    # ---- what the driver calls

    def receive(self, frame: ClientFrame | _End) -> list[Effect]:
        """Take a client's frame and return what is to be done, in order."""
        handler = self._LEGAL.get((self._state, type(frame)))
        if handler is None:
            return []
        return [*handler(self, frame), *self._advance()]

    def opened(self, answer: ModelAnswer | ModelUnavailable) -> list[Effect]:
        """Take the answer to ``OpenModel``."""
        if self._asked is None:
            return []
        (config, ignored), self._asked = self._asked, None
        if isinstance(answer, ModelUnavailable):
            self._outbox.append(_Reply(error_frame(answer)))
            if self._stretch is None:
                self._refused = ModelRequest(config.model, config.variant)
                self._drop_waiting_audio()
        else:
            self._begin(config, answer, ignored)
        self._state = State.LIVE
        return [*self._advance(), *self._work_through_waiting()]

    def proceed(self) -> list[Effect]:
        """Go on with audio that was left over, after an ``Again``."""
        if self._rest is None:
            return []
        samples, self._rest = self._rest, None
        self._state = State.LIVE
        effects = [*self._hear(samples), *self._advance()]
        return [*effects, *self._work_through_waiting()]

    def finished(self, key: int, outcome: Hypothesis | DecodeFailed) -> list[Effect]:
        """Take the answer to a ``Decode``; answers that nobody waits for any more are ignored."""
        plan, slot = self._running.pop(key, (None, None))
        if plan is None or slot is None:
            return []
        slot.key = None
        if not isinstance(outcome, DecodeFailed):
            slot.settle(outcome)
            plan.stretch.remember(plan, slot, outcome)
        elif plan is self._partial:
            self._partial = None
        else:
            slot.failures += 1
            if slot.failures >= _ATTEMPTS:
                slot.settle(None)
        return self._advance()

    def end(self, code: int, error: Error | None = None) -> list[Effect]:
        """Finalise what was heard, deliver it, send ``error`` if there is one, and close."""
        return self.receive(_End(code, error))

    @property
    def ending(self) -> bool:
        """Whether it delivers what was heard and then closes, or has closed."""
        return self._state in (State.ENDING, State.CLOSED)

    @property
    def backlog(self) -> float:
        """Seconds of audio that finals are due for and that is not delivered yet."""
        left = 0 if self._rest is None else len(self._rest)
        queued = self._waiting.size / self._bytes_per_second
        return self._outbox.size / _MICRO + left / self._config.sample_rate + queued

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio that finals came due for since the beginning, and those of them delivered."""
        return self._closed, self._closed - self._outbox.size

    @property
    def full(self) -> bool:
        """Whether so many frames or replies wait (for a model, for decodes) that no more should come."""
        asked, replies = self._waiting.weightless, self._outbox.weightless
        return asked + replies > _MOST_WAITING or len(self._waiting) > _MOST_AUDIO

    # ---- frames

    def _on_config(self, frame: Config) -> Iterator[Effect]:
        try:
            config, ignored = read_config(frame.values, self._config)
        except ProtocolError as error:
            yield Send(error_frame(error))
            return
        self._close_segment(flush=True)
        request = ModelRequest(config.model, config.variant)
        if self._stretch and request == ModelRequest(self._config.model, self._config.variant):
            self._begin(config, self._stretch.model, ignored)
            return
        yield from self._open(config, ignored)

    def _on_audio(self, frame: Audio) -> Iterator[Effect]:
        try:
            samples = read_samples(frame.data, self._config.audio_format, self._config.channels)
        except ProtocolError as error:
            yield Send(error_frame(error))
            return
        if self._stretch is None:
            if self._refused == ModelRequest(self._config.model, self._config.variant):
                return  # the client was told; nothing has changed
            self._waiting.appendleft(frame)  # before what came after it
            yield from self._open(self._config, None)
            return
        yield from self._hear(samples)

    def _on_commit(self, _: Commit) -> Iterator[Effect]:
        self._close_segment(flush=True)
        self._outbox.append(_Transcript(always=True))
        yield from ()

    def _on_reset(self, _: Reset) -> Iterator[Effect]:
        """Forget what no reply waits for: what was committed before is still delivered."""
        forgotten: list[int] = []
        self._partial_mark = 0
        yield from self._drop_partial()
        while self._outbox and isinstance(plan := self._outbox[-1], Plan):
            self._outbox.pop()
            forgotten += plan.running
        for key in forgotten:
            del self._running[key]
        if forgotten:
            yield Drop(tuple(forgotten))
        if self._stretch:
            self._stretch = Stretch(self._config, self._stretch.model, self._voice)
        self._refused = None
        self._outbox.append(_Afresh())

    def _on_stop(self, _: Stop) -> Iterator[Effect]:
        return self._on_end(_End(CLOSE_NORMAL))

    def _on_end(self, end: _End) -> Iterator[Effect]:
        self._close_segment(flush=True)
        self._outbox.append(_Transcript(always=False))
        if end.error:
            self._outbox.append(_Reply(end.error))
        self._outbox.append(_Goodbye(end.code))
        self._state = State.ENDING
        yield from ()

    def _on_ping(self, _: Ping) -> list[Effect]:
        return [Send(Pong())]

    def _on_auth(self, _: Auth) -> list[Effect]:
        return [Send(Status(state="authenticated"))]

    def _wait(self, frame: ClientFrame | _End) -> list[Effect]:
        self._waiting.append(frame)
        return []

    # ---- models and settings

    def _open(self, config: StreamConfig, ignored: tuple[str, ...] | None) -> Iterator[Effect]:
        self._asked = (config, ignored)
        self._state = State.BUSY
        yield OpenModel(ModelRequest(config.model, config.variant))

    def _begin(self, config: StreamConfig, model: ModelAnswer, ignored: tuple[str, ...] | None) -> None:
        old = self._stretch
        if old and old.model == model and self._config.sample_rate == config.sample_rate:
            old.segments.retune(config.chunk_duration, config.overlap_duration)
            old.take(config)
        else:
            base = old.segments.seconds(old.segments.heard) if old else 0.0
            self._stretch = Stretch(config, model, self._voice, base)
        self._config = config
        self._outbox.extend(
            _Reply(frame) for frame in warnings(config, model, announce=not old or old.model != model)
        )
        if ignored is not None:
            self._outbox.append(_Reply(configured(config, model, ignored)))

    def _drop_waiting_audio(self) -> None:
        while self._waiting and isinstance(self._waiting[0], Audio):
            self._waiting.popleft()

    def _work_through_waiting(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and self._state is State.LIVE:
            effects += self.receive(self._waiting.popleft())
        return effects

    # ---- audio

    def _hear(self, samples: NDArray[np.float32]) -> Iterator[Effect]:
        stretch = self._stretch
        if stretch is None:
            return
        bite = min(len(samples), to_samples(_BITE, stretch.segments.rate))
        granted = self._grant(bite, stretch.segments.rate)
        if granted is None:
            yield from self._leave_over(samples)
            return
        samples, rest = samples[:granted], samples[bite:]
        if granted < bite:  # what comes after is not heard; the driver ends the stream
            rest = rest[:0]
            self._waiting.keep(lambda item: isinstance(item, _End))
        while len(samples):
            samples = samples[stretch.hear(samples) :]
            if stretch.segments.heard == stretch.segments.due:
                self._close_segment(flush=False)
        if len(rest):
            yield from self._leave_over(rest)
        else:
            yield from self._renew_partial(stretch)

    def _leave_over(self, samples: NDArray[np.float32]) -> Iterator[Effect]:
        self._rest = samples
        self._state = State.BUSY
        yield Again()

    def _close_segment(self, *, flush: bool) -> None:
        stretch = self._stretch
        if stretch and (stretch.segments.pending or (flush and stretch.reading.holds)):
            plan = stretch.close_segment(flush=flush)
            self._outbox.append(plan)
            self._closed += _microseconds(plan)
            self._partial_mark = 0

    def _renew_partial(self, stretch: Stretch) -> Iterator[Effect]:
        """Ask for a partial if one is due; while finals are due, partials can wait."""
        config, segments = self._config, stretch.segments
        mark = segments.pending // max(1, to_samples(config.partial_interval, segments.rate))
        enough = segments.pending >= to_samples(config.min_partial_duration, segments.rate)
        early = mark < self._partial_mark + self.partial_pace
        if not config.enable_partial or early or not enough or self._finals_due:
            return
        self._partial_mark = mark
        yield from self._drop_partial()
        self._partial = stretch.glance()

    def _drop_partial(self) -> Iterator[Effect]:
        plan, self._partial = self._partial, None
        if plan and plan.running:
            for key in plan.running:
                del self._running[key]
            yield Drop(plan.running)

    @property
    def _finals_due(self) -> bool:
        return self._outbox.weighty > 0

    @property
    def _bytes_per_second(self) -> int:
        sample = 4 if self._config.audio_format == "f32le" else 2
        return sample * self._config.channels * self._config.sample_rate

    # ---- answers

    def _advance(self) -> list[Effect]:
        """Deliver what is ready, in order, and ask for the decodes that can run."""
        effects: list[Effect] = []
        if self._finals_due:
            effects += self._drop_partial()
        while self._outbox:
            item = self._outbox[0]
            if isinstance(item, Plan) and item.complete is None:
                break
            self._outbox.popleft()
            effects += self._deliver(item)
        effects += self._deliver_partial()
        effects += self._issue()
        return effects

    def _deliver(self, item: _Item) -> Iterator[Effect]:
        match item:
            case _Reply(frame):
                yield Send(frame)
            case _Transcript(always):
                text = self._transcript.take()
                if text or always:
                    yield Send(FullTranscript(text=text))
            case _Afresh():
                self._finals = 0
                self._transcript.take()
                yield Send(Status(state="reset"))
            case _Goodbye(code):
                yield from self._leave(code)
            case Plan():
                yield from self._deliver_segment(item)
            case _:
                assert_never(item)

    def _deliver_segment(self, plan: Plan) -> Iterator[Effect]:
        answers = plan.complete or []
        words = reworded(plan.stretch.reading.say(answers, flush=plan.flush), plan.replacements)
        if any(slot.lost for slot in plan.slots):
            yield Send(decode_failed(plan))
        if words:
            self._finals += 1
            frame = final_frame(plan, self._finals, words)
            self._transcript.add(frame.text)
            yield Send(frame)

    def _deliver_partial(self) -> Iterator[Effect]:
        plan = self._partial
        answers = plan.complete if plan else None
        if plan is None or answers is None:
            return
        self._partial = None
        words = reworded(plan.stretch.reading.glimpse(answers), plan.replacements)
        if words:
            yield Send(partial_frame(plan, self._finals + 1, words))

    def _leave(self, code: int) -> Iterator[Effect]:
        running = tuple(self._running)
        self._running.clear()
        self._state = State.CLOSED
        if running:
            yield Drop(running)
        yield Close(code)

    def _issue(self) -> Iterator[Effect]:
        """Ask for decodes in order, as many as each stretch's reading allows ahead of what is said."""
        plans = [item for item in self._outbox if isinstance(item, Plan)]
        if self._partial:
            plans.append(self._partial)
        slots = [(plan.stretch, slot) for plan in plans for slot in plan.slots if not slot.known]
        ahead: Counter[Stretch] = Counter(stretch for stretch, slot in slots if slot.begun)
        running: Counter[Stretch] = Counter(stretch for stretch, slot in slots if slot.key is not None)
        first: dict[Stretch, Plan] = {}
        for plan in plans:
            oldest = first.setdefault(plan.stretch, plan) is plan
            for slot in plan.slots:
                count = running if oldest else ahead
                if not slot.begun and count[plan.stretch] < plan.stretch.reading.ahead:
                    running[plan.stretch] += 1
                    ahead[plan.stretch] += 1
                    yield self._decode(plan, slot)
        if self._stretch:
            self._stretch.forget(plans)

    def _decode(self, plan: Plan, slot: Slot) -> Decode:
        slot.key = next(self._keys)
        self._running[slot.key] = (plan, slot)
        window = plan.stretch.window(plan, slot)
        return Decode(slot.key, window, plan.stretch.model.name, final=plan is not self._partial)

    #: Which frame does what in which state; a missing pair is not legal there and is passed over.
    _LEGAL: ClassVar[Mapping[tuple[State, type], Callable[..., Iterable[Effect]]]] = {
        (State.LIVE, Config): _on_config,
        (State.LIVE, Audio): _on_audio,
        (State.LIVE, Commit): _on_commit,
        (State.LIVE, Reset): _on_reset,
        (State.LIVE, Stop): _on_stop,
        (State.LIVE, Ping): _on_ping,
        (State.LIVE, Auth): _on_auth,
        (State.LIVE, _End): _on_end,
        (State.BUSY, _End): _wait,
        (State.BUSY, Config): _wait,
        (State.BUSY, Audio): _wait,
        (State.BUSY, Commit): _wait,
        (State.BUSY, Reset): _wait,
        (State.BUSY, Stop): _wait,
        (State.BUSY, Ping): _on_ping,
        (State.BUSY, Auth): _on_auth,
        (State.ENDING, Ping): _on_ping,
    }

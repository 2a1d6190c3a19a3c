"""What a session is doing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from echoic.errors import CLOSE_NORMAL, DecodeFailed, ModelUnavailable, ProtocolError
from echoic.interfaces.diarizer import Turn, Voices
from echoic.interfaces.engine import Hypothesis, ModelAnswer, ModelRequest
from echoic.interfaces.vad import VoiceActivity
from echoic.protocol.frames import (
    Audio,
    Auth,
    ClientFrame,
    Commit,
    Config,
    Error,
    Ping,
    Pong,
    Reset,
    Status,
    Stop,
)
from echoic.protocol.pcm import read_samples
from echoic.session.config import Offers, StreamConfig, read_config
from echoic.session.effects import Again, Effect, OpenModel, Send, Store, Unstore
from echoic.session.output_queue import (
    Afresh,
    Deliveries,
    Goodbye,
    Line,
    Reply,
    Summary,
    TranscriptDue,
    audio_bytes,
)
from echoic.session.pipeline import Stretch
from echoic.session.rendering import configured, error_frame, storage_failed, warnings
from echoic.session.speaker_tracking import Hearing, Listening
from echoic.units import to_samples


class State(Enum):
    """What the session is doing."""

    LIVE = auto()  # hears and answers
    BUSY = auto()  # waits for a model, or has audio left to work through; what comes queues
    ENDING = auto()  # delivers what was heard, then closes
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class End:
    """The driver's wish to end, which waits like a frame while the session is busy."""

    code: int
    error: Error | None = None


#: Seconds of audio that one call works through before it asks to be called ``Again``: a message may
#: hold minutes, and the voice-activity model would keep everyone else waiting.
_BITE = 2.0
#: Frames other than audio, or replies to them, that may wait before a client should not be read further.
_MOST_WAITING = 64
#: Audio frames that may wait; half a minute in messages of 20 ms.
_MOST_AUDIO = 1_500


def _all(samples: int, _: int) -> int:
    return samples


class Session:
    """A stream of audio from its first frame to its close.

    Args:
        voice: Makes the voice-activity detector of a stretch of audio, or None: no speech gate,
            every window is decoded.
        defaults: The settings before any ``config`` frame.
        grant: Asked with a number of samples and their rate before they are heard: how many of them may be.
            None: not known yet, it is asked again after an ``Again``. Fewer: no more will ever be.
        offers: What there is beside recognisers.
        recording: How the server calls the session's audio, where it is stored.
    """

    def __init__(
        self,
        voice: Callable[[], VoiceActivity] | None = None,
        defaults: StreamConfig | None = None,
        grant: Callable[[int, int], int | None] | None = None,
        offers: Offers | None = None,
        recording: str | None = None,
    ) -> None:
        self._voice = voice
        self._grant = grant or _all
        self._config = defaults or StreamConfig()
        self._state = State.LIVE
        self._stretch: Stretch | None = None
        self._asked: tuple[StreamConfig, tuple[str, ...] | None] | None = None
        self._rest: NDArray[np.float32] | None = None
        self._refused: ModelRequest | None = None
        self._waiting: Line[ClientFrame | End] = Line(audio_bytes)
        self._due = Deliveries()
        self._partial_mark = 0
        #: A partial is asked for at every so manieth place where one is due; finals do not depend on it.
        self.partial_pace = 1
        self._offers = offers or Offers()
        #: How the server calls the session's audio, where it is stored.
        self.recording = recording
        self._listening: Listening | None = None
        self._listens = False

    # ---- what the driver calls

    def receive(self, frame: ClientFrame | End) -> list[Effect]:
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
            self._due.add(Reply(error_frame(answer)))
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
        self._due.finished(key, outcome)
        return self._advance()

    def listened(self, key: int, voices: Voices | None) -> list[Effect]:
        """Take the answer to a ``Listen``; None: nobody could tell."""
        return [*self._due.listened(key, voices), *self._advance()]

    def reviewed(self, key: int, turns: tuple[Turn, ...] | None) -> list[Effect]:
        """Take the answer to a ``Review``; None: nobody could tell."""
        self._due.reviewed(key, turns)
        return self._advance()

    def unstored(self) -> list[Effect]:
        """Take note that the session's audio could not be stored."""
        self.recording = self._due.recording = None
        return [Send(storage_failed())]

    def end(self, code: int, error: Error | None = None) -> list[Effect]:
        """Finalise what was heard, deliver it, send ``error`` if there is one, and close."""
        return self.receive(End(code, error))

    @property
    def config(self) -> StreamConfig:
        """The settings in force."""
        return self._config

    @property
    def ending(self) -> bool:
        """Whether it delivers what was heard and then closes, or has closed."""
        return self._state in (State.ENDING, State.CLOSED)

    @property
    def backlog(self) -> float:
        """Seconds of audio that finals are due for and that is not delivered yet."""
        left = 0 if self._rest is None else len(self._rest)
        queued = self._waiting.size / self._bytes_per_second
        return self._due.seconds + left / self._config.sample_rate + queued

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio that finals came due for since the beginning, and those of them delivered."""
        return self._due.progress

    @property
    def full(self) -> bool:
        """Whether so many frames or replies wait (for a model, for decodes) that no more should come."""
        others = self._waiting.weightless + self._due.replies
        return others > _MOST_WAITING or len(self._waiting) > _MOST_AUDIO

    # ---- frames

    def _on_config(self, frame: Config) -> Iterator[Effect]:
        try:
            config, ignored = read_config(frame.values, self._config)
        except ProtocolError as error:
            yield Send(error_frame(error))
            return
        yield from self._close_segment(flush=True)
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
        yield from self._close_segment(flush=True)
        self._due.add(TranscriptDue(always=True))
        if self._listening:
            self._due.add(Summary(self._listening))

    def _on_reset(self, _: Reset) -> Iterator[Effect]:
        """Forget what no reply waits for: what was committed before is still delivered."""
        self._partial_mark = 0
        yield from self._due.forget()
        if self._stretch:
            self._stretch = Stretch(self._config, self._stretch.model, self._voice)
            self._listen(self._stretch, afresh=True)
        self._refused = None
        self._due.add(Afresh())
        if self._stores:
            yield Unstore()

    def _on_stop(self, _: Stop) -> Iterator[Effect]:
        return self._on_end(End(CLOSE_NORMAL))

    def _on_end(self, end: End) -> Iterator[Effect]:
        yield from self._close_segment(flush=True)
        self._due.add(TranscriptDue(always=False))
        if self._listening:
            self._due.add(Summary(self._listening))
        if end.error:
            self._due.add(Reply(end.error))
        self._due.add(Goodbye(end.code))
        self._state = State.ENDING

    def _on_ping(self, _: Ping) -> list[Effect]:
        return [Send(Pong())]

    def _on_auth(self, _: Auth) -> list[Effect]:
        return [Send(Status(state="authenticated"))]

    def _wait(self, frame: ClientFrame | End) -> list[Effect]:
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
        if self._stretch:
            self._listen(self._stretch)
        announce = not old or old.model != model
        for warning in warnings(config, model, self._offers, announce=announce):
            self._due.add(Reply(warning))
        if ignored is not None:
            self._due.add(Reply(configured(config, model, self._offers, ignored)))

    def _listen(self, stretch: Stretch, *, afresh: bool = False) -> None:
        """Ask who speaks from here on, or do not, as the settings say."""
        asked, offered = self._config.diarization, self._offers.diarization is None
        if afresh:
            self._listening = None
        self._listens = asked is not None and offered
        if asked is not None and offered:
            self._listening = self._listening or Listening(asked.speakers)
            self._listening.wishes = asked.speakers
        stretch.gather(wanted=self._listens or self._stores)
        self._due.recording = self.recording if self._stores else None

    @property
    def _stores(self) -> bool:
        asked = self._config.diarization
        return asked is not None and asked.store_audio and self._offers.storage is None

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
            self._waiting.keep(lambda item: isinstance(item, End))
        while len(samples):
            samples = samples[stretch.hear(samples) :]
            if stretch.segments.heard == stretch.segments.due:
                yield from self._close_segment(flush=False)
        if len(rest):
            yield from self._leave_over(rest)
        else:
            yield from self._renew_partial(stretch)

    def _leave_over(self, samples: NDArray[np.float32]) -> Iterator[Effect]:
        self._rest = samples
        self._state = State.BUSY
        yield Again()

    def _close_segment(self, *, flush: bool) -> Iterator[Effect]:
        stretch = self._stretch
        if stretch is None or not (stretch.segments.pending or (flush and stretch.holds)):
            return
        sound = stretch.sound(last=flush)  # before the reading forgets where there was speech
        plan = stretch.close_segment(flush=flush)
        if sound is not None and self._listening and self._listens:
            plan.hearing = Hearing(self._listening, sound)
        self._due.add(plan)
        self._partial_mark = 0
        if sound is not None and self._stores:
            yield Store(sound.audio)

    def _renew_partial(self, stretch: Stretch) -> Iterator[Effect]:
        """Ask for a partial if one is due; while finals are due, partials can wait."""
        config, segments = self._config, stretch.segments
        mark = segments.pending // max(1, to_samples(config.partial_interval, segments.rate))
        enough = segments.pending >= to_samples(config.min_partial_duration, segments.rate)
        early = mark < self._partial_mark + self.partial_pace
        if not config.enable_partial or early or not enough or self._due.finals:
            return
        self._partial_mark = mark
        yield from self._due.renew_partial(stretch.glance())

    @property
    def _bytes_per_second(self) -> int:
        return self._config.bytes_per_sample * self._config.sample_rate

    def _advance(self) -> list[Effect]:
        effects = self._due.advance()
        if self._due.is_over:
            self._state = State.CLOSED
        if self._stretch:
            self._stretch.forget(self._due.plans)
        return effects

    #: Which frame does what in which state; a missing pair is not legal there and is passed over.
    _LEGAL: ClassVar[Mapping[tuple[State, type], Callable[..., Iterable[Effect]]]] = {
        (State.LIVE, Config): _on_config,
        (State.LIVE, Audio): _on_audio,
        (State.LIVE, Commit): _on_commit,
        (State.LIVE, Reset): _on_reset,
        (State.LIVE, Stop): _on_stop,
        (State.LIVE, Ping): _on_ping,
        (State.LIVE, Auth): _on_auth,
        (State.LIVE, End): _on_end,
        (State.BUSY, End): _wait,
        (State.BUSY, Config): _wait,
        (State.BUSY, Audio): _wait,
        (State.BUSY, Commit): _wait,
        (State.BUSY, Reset): _wait,
        (State.BUSY, Stop): _wait,
        (State.BUSY, Ping): _on_ping,
        (State.BUSY, Auth): _on_auth,
        (State.ENDING, Ping): _on_ping,
    }

"""Plays a session without a server: answers its effects by an engine, in an order of the test's choice."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from echoic.errors import DecodeFailed
from echoic.session.core import Session
from echoic.session.effects import (
    Again,
    Close,
    Decode,
    Drop,
    Listen,
    ModelAnswer,
    OpenModel,
    Review,
    Send,
    Store,
    Unstore,
)
from echoic.wire.codec import decode_message, encode_frame
from echoic.wire.frames import Audio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from echoic.engines.base import Engine
    from echoic.errors import ModelUnavailable
    from echoic.session.effects import Effect, ModelRequest
    from echoic.speakers.base import Diarizer

Json = dict[str, object]


class Play:
    """Drives a session by hand.

    Args:
        engine: Decodes; what it raises is a failed decode.
        session: Fresh, or one of the test's own making.
        model: Answers ``OpenModel`` instead of the engine's own name and needs.
        shuffle: Seed of the order in which decodes finish; None: at once, in order.
        diarizer: Says who speaks; what it raises is a failure. None: nobody answers.
    """

    def __init__(
        self,
        engine: Engine,
        session: Session | None = None,
        *,
        model: Callable[[ModelRequest], ModelAnswer | ModelUnavailable] | None = None,
        shuffle: int | None = None,
        diarizer: Diarizer | None = None,
    ) -> None:
        self.engine = engine
        self.session = session or Session()
        self.frames: list[Json] = []
        self.closed: int | None = None
        self.decodes: list[Decode] = []
        self.decoded_seconds = 0.0
        self._model = model
        self._order = None if shuffle is None else random.Random(shuffle)  # noqa: S311  # a test's order
        self._open: dict[int, Decode | Listen | Review] = {}
        self.diarizer = diarizer
        self.stored: list[NDArray[np.float32]] = []

    def send(self, message: str | bytes | Json) -> list[Json]:
        """Send one message, finish every decode, and return the frames that it brought."""
        before = len(self.frames)
        text = message if isinstance(message, str | bytes) else msgspec.json.encode(message).decode()
        self.do(self.session.receive(decode_message(text)))
        self.settle()
        return self.frames[before:]

    def hear(self, samples: NDArray[np.float32]) -> list[Json]:
        """Send samples as one binary message."""
        return self.send(samples.astype("<f4").tobytes())

    def hear_in(self, samples: NDArray[np.float32], sizes: Iterable[int]) -> list[Json]:
        """Send samples in messages of these sizes, the rest in one more."""
        before = len(self.frames)
        for size in sizes:
            if len(samples):
                self.hear(samples[:size])
                samples = samples[size:]
        if len(samples):
            self.hear(samples)
        return self.frames[before:]

    def do(self, effects: Iterable[Effect]) -> None:
        """Carry out effects, audio that is left over last; decodes wait until ``settle``."""
        again = False
        for effect in effects:
            assert self.closed is None, f"{effect} after the close"
            match effect:
                case Send(frame):
                    self.frames.append(msgspec.json.decode(encode_frame(frame)))
                case Decode(key):
                    self.decodes.append(effect)
                    self._open[key] = effect
                case Drop(keys):
                    self._open = {key: one for key, one in self._open.items() if key not in keys}
                case Listen() | Review() | Store() | Unstore():
                    self._do_beside(effect)
                case OpenModel(request):
                    self.do(self.session.opened(self._answer(request)))
                case Again():
                    again = True
                case Close(code):
                    self.closed = code
        if again:
            self.do(self.session.proceed())

    def _do_beside(self, effect: Listen | Review | Store | Unstore) -> None:
        match effect:
            case Store(audio):
                self.stored.append(audio)
            case Unstore():
                self.stored.clear()
            case _ if self.diarizer:
                self._open[effect.key] = effect

    def settle(self) -> None:
        """Finish every decode that is asked for, and those that follow."""
        while self._open:
            keys = list(self._open)
            key = self._order.choice(keys) if self._order else keys[0]
            self.finish(key)

    def finish(self, key: int) -> None:
        """Finish one decode, or what else was asked for."""
        decode = self._open.pop(key)
        if not isinstance(decode, Decode):
            self.do(self._ask(decode))
            return
        self.decoded_seconds += len(decode.window.audio) / decode.window.sample_rate
        try:
            outcome = self.engine.decode([decode.window])[0]
        except Exception:  # noqa: BLE001  # as the worker does
            self.do(self.session.finished(key, DecodeFailed()))
        else:
            self.do(self.session.finished(key, outcome))

    @property
    def open(self) -> list[Decode]:
        """Decodes that are asked for and not finished."""
        return [effect for effect in self._open.values() if isinstance(effect, Decode)]

    def _ask(self, effect: Listen | Review) -> list[Effect]:
        assert self.diarizer
        with suppress(Exception):  # as the listeners do
            if isinstance(effect, Listen):
                return self.session.listened(effect.key, self.diarizer.listen([effect.sound])[0])
            return self.session.reviewed(effect.key, self.diarizer.review(effect.carry))
        answer = self.session.listened if isinstance(effect, Listen) else self.session.reviewed
        return answer(effect.key, None)

    def _answer(self, request: ModelRequest) -> ModelAnswer | ModelUnavailable:
        if self._model:
            return self._model(request)
        return ModelAnswer(self.engine.name, self.engine.needs)


def kind(frames: Iterable[Json], name: str) -> list[Json]:
    """Return the frames of one type."""
    return [frame for frame in frames if frame["type"] == name]


def texts(frames: Iterable[Json], name: str = "final") -> list[str]:
    """Return the texts of the frames of one type."""
    return [str(frame["text"]) for frame in kind(frames, name)]


def zeros(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    """Return silence."""
    return np.zeros(round(seconds * rate), np.float32)


def audio_frame(samples: NDArray[np.float32]) -> Audio:
    """Return samples as a frame."""
    return Audio(samples.astype("<f4").tobytes())

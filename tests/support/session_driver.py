"""Drives a bare session: performs its effects with an engine, in an order that the test chooses."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import OpenedModel
from echoic.protocol.codec import decode_message, encode_frame
from echoic.protocol.frames import Audio
from echoic.session.effects import (
    CancelDecodes,
    Close,
    Continue,
    Decode,
    Diarize,
    DiscardRecording,
    FinalizeDiarization,
    OpenModel,
    RecordAudio,
    Send,
)
from echoic.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from echoic.errors import ModelUnavailable
    from echoic.interfaces.diarizer import Diarizer
    from echoic.interfaces.engine import Engine, ModelRequest
    from echoic.session.effects import Effect

Json = dict[str, object]


class SessionDriver:
    """Drives a session without a server.

    Args:
        engine: Decodes windows; an exception is a failed decode.
        session: The session; None: a new one.
        model_resolver: Resolves ``OpenModel``; None: the engine's name and requirements.
        shuffle_seed: Seed of the order in which decodes finish; None: at once, in order.
        diarizer: Diarizes chunks; an exception is a failure. None: requests stay open.
    """

    def __init__(
        self,
        engine: Engine,
        session: Session | None = None,
        *,
        model_resolver: Callable[[ModelRequest], OpenedModel | ModelUnavailable] | None = None,
        shuffle_seed: int | None = None,
        diarizer: Diarizer | None = None,
    ) -> None:
        self.engine = engine
        self.session = session or Session()
        self.frames: list[Json] = []
        self.close_code: int | None = None
        self.requested_decodes: list[Decode] = []
        self.decoded_seconds = 0.0
        self._model_resolver = model_resolver
        self._shuffle_rng = None if shuffle_seed is None else random.Random(shuffle_seed)  # noqa: S311  # a test's order
        self._pending: dict[int, Decode | Diarize | FinalizeDiarization] = {}
        self.diarizer = diarizer
        self.recorded_audio: list[NDArray[np.float32]] = []

    def send(self, message: str | bytes | Json) -> list[Json]:
        """Send one message, finish all decodes, and return the new frames."""
        before = len(self.frames)
        text = message if isinstance(message, str | bytes) else msgspec.json.encode(message).decode()
        self.perform_effects(self.session.receive(decode_message(text)))
        self.finish_all()
        return self.frames[before:]

    def push_audio(self, samples: NDArray[np.float32]) -> list[Json]:
        """Send samples as one binary message."""
        return self.send(samples.astype("<f4").tobytes())

    def push_in_messages(self, samples: NDArray[np.float32], sizes: Iterable[int]) -> list[Json]:
        """Send samples in messages of these sizes, and the rest in one more."""
        before = len(self.frames)
        for size in sizes:
            if len(samples):
                self.push_audio(samples[:size])
                samples = samples[size:]
        if len(samples):
            self.push_audio(samples)
        return self.frames[before:]

    def perform_effects(self, effects: Iterable[Effect]) -> None:
        """Perform effects, buffered audio last; decodes stay open until ``finish_all``."""
        has_more_audio = False
        for effect in effects:
            assert self.close_code is None, f"{effect} after the close"
            match effect:
                case Send(frame):
                    self.frames.append(msgspec.json.decode(encode_frame(frame)))
                case Decode(key):
                    self.requested_decodes.append(effect)
                    self._pending[key] = effect
                case CancelDecodes(keys):
                    self._pending = {key: one for key, one in self._pending.items() if key not in keys}
                case Diarize() | FinalizeDiarization() | RecordAudio() | DiscardRecording():
                    self._perform_add_on_effect(effect)
                case OpenModel(request):
                    self.perform_effects(self.session.on_model_opened(self._answer_model_request(request)))
                case Continue():
                    has_more_audio = True
                case Close(code):
                    self.close_code = code
        if has_more_audio:
            self.perform_effects(self.session.continue_audio())

    def _perform_add_on_effect(
        self, effect: Diarize | FinalizeDiarization | RecordAudio | DiscardRecording
    ) -> None:
        match effect:
            case RecordAudio(audio):
                self.recorded_audio.append(audio)
            case DiscardRecording():
                self.recorded_audio.clear()
            case _ if self.diarizer:
                self._pending[effect.key] = effect

    def finish_all(self) -> None:
        """Finish all open decodes, and those that they cause."""
        while self._pending:
            keys = list(self._pending)
            key = self._shuffle_rng.choice(keys) if self._shuffle_rng else keys[0]
            self.finish_decode(key)

    def finish_decode(self, key: int) -> None:
        """Finish one decode or diarization request."""
        decode = self._pending.pop(key)
        if not isinstance(decode, Decode):
            self.perform_effects(self._run_diarizer(decode))
            return
        self.decoded_seconds += len(decode.window.audio) / decode.window.sample_rate
        try:
            outcome = self.engine.decode([decode.window])[0]
        except Exception:  # as the worker does  # noqa: BLE001  # a job in the writer, which writes for all sessions
            self.perform_effects(self.session.on_decoded(key, DecodeFailed()))
        else:
            self.perform_effects(self.session.on_decoded(key, outcome))

    @property
    def open_decodes(self) -> list[Decode]:
        """Requested decodes that are not finished."""
        return [effect for effect in self._pending.values() if isinstance(effect, Decode)]

    def _run_diarizer(self, effect: Diarize | FinalizeDiarization) -> list[Effect]:
        assert self.diarizer
        with suppress(Exception):  # as the diarizer pool does
            if isinstance(effect, Diarize):
                return self.session.on_diarized(effect.key, self.diarizer.diarize([effect.chunk])[0])
            return self.session.on_diarization_finalized(effect.key, self.diarizer.finalize(effect.state))
        answer = (
            self.session.on_diarized if isinstance(effect, Diarize) else self.session.on_diarization_finalized
        )
        return answer(effect.key, None)

    def _answer_model_request(self, request: ModelRequest) -> OpenedModel | ModelUnavailable:
        if self._model_resolver:
            return self._model_resolver(request)
        return OpenedModel(self.engine.name, self.engine.requirements)


def filter_frames(frames: Iterable[Json], name: str) -> list[Json]:
    """Return the frames of one type."""
    return [frame for frame in frames if frame["type"] == name]


def frame_texts(frames: Iterable[Json], name: str = "final") -> list[str]:
    """Return the texts of the frames of one type."""
    return [str(frame["text"]) for frame in filter_frames(frames, name)]


def build_silence(seconds: float, rate: int = 16_000) -> NDArray[np.float32]:
    """Return silence."""
    return np.zeros(round(seconds * rate), np.float32)


def build_audio_frame(samples: NDArray[np.float32]) -> Audio:
    """Return samples as an audio frame."""
    return Audio(samples.astype("<f4").tobytes())

"""The transcriber for your own service: the same session without a server, around your own decoder."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, assert_never

import msgspec
import numpy as np

from echoic.errors import DecodeFailed
from echoic.session.config import StreamConfig
from echoic.session.core import Session
from echoic.session.effects import (
    Again,
    Close,
    Decode,
    Drop,
    Listen,
    ModelAnswer,
    ModelRequest,
    OpenModel,
    Review,
    Send,
    Store,
    Unstore,
)
from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, hypothesis_of
from echoic.text.vocabulary import Vocabulary, read_wish
from echoic.wire.codec import encode_frame
from echoic.wire.frames import Audio, Commit, Error, Final, Partial, Reset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import NDArray

    from echoic.audio.speech import VoiceActivity
    from echoic.engines.base import Engine
    from echoic.session.effects import Effect
    from echoic.session.window import Window
    from echoic.wire.frames import ServerFrame

    DecodeFn: TypeAlias = Callable[[NDArray[np.float32], int], str | Awaitable[str]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """Settings of a transcriber; the same names and defaults as the protocol's ``config`` frame.

    Attributes:
        sample_rate: Samples per second of the audio that is passed in.
        chunk_duration: Seconds of a window.
        overlap_duration: Seconds of it that are context from the window before; less than a chunk.
        model: The model's name.
        model_variant: ``standard``, ``onnx`` or ``mlx``.
        language: Hint to the engine, or None.
        enable_partial: Whether partials are returned.
        partial_interval: Seconds of audio from one partial to the next.
        min_partial_duration: Seconds of new audio before a segment's first partial.
        word_timestamps: Whether finals carry words with times, where the engine knows them.
        vocabulary: ``{"terms": […], "replacements": {…}}``, either of them or both; None: neither. Terms are
            for engines that can listen for them.

    Raises:
        ValueError: A duration or the rate is out of range, or the vocabulary is not one.
    """

    sample_rate: int = 16_000
    chunk_duration: float = 2.0
    overlap_duration: float = 0.5
    model: str = "parakeet"
    model_variant: Literal["standard", "onnx", "mlx"] = "standard"
    language: str | None = None
    enable_partial: bool = True
    partial_interval: float = 0.5
    min_partial_duration: float = 0.5
    word_timestamps: bool = False
    vocabulary: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise ValueError("sample_rate must be at least 1.")
        if self.chunk_duration <= 0:
            raise ValueError("chunk_duration must be more than 0.")
        if not 0 <= self.overlap_duration < self.chunk_duration:
            raise ValueError("overlap_duration must be at least 0 and less than chunk_duration.")
        self._words()

    def stream(self) -> StreamConfig:
        """Return the same settings as the session takes them."""
        return StreamConfig(
            model=self.model,
            model_variant=self.model_variant,
            sample_rate=self.sample_rate,
            chunk_duration=self.chunk_duration,
            overlap_duration=self.overlap_duration,
            language=self.language,
            enable_partial=self.enable_partial,
            partial_interval=self.partial_interval,
            min_partial_duration=self.min_partial_duration,
            word_timestamps=self.word_timestamps,
            vocabulary=self._words(),
        )

    def _words(self) -> Vocabulary:
        return Vocabulary().of_session(read_wish(dict(self.vocabulary or {})))


Frame: TypeAlias = dict[str, object]


class ParakeetCoreTranscriber:
    """Turns arrays of samples into partial and final frames.

    One stream; calls are taken one after another. Frames are dicts exactly as the protocol has them.

    Args:
        config: Settings; the defaults if None.
        decode_fn: ``(float32 samples of shape (n,), sample rate) -> text``; it may block (it runs in a
            thread) or be a coroutine function. What it raises becomes an ``error`` frame that names the gap.
        engine: A loaded engine instead of ``decode_fn``.
        voice: Makes a voice-activity detector; windows without speech are then not decoded. None: every
            window is, and an engine that reads by utterances takes all for one, cut where it grows too long.

    Raises:
        ValueError: Not exactly one of ``decode_fn`` and ``engine`` was given.
    """

    def __init__(
        self,
        config: StreamingConfig | None = None,
        decode_fn: DecodeFn | None = None,
        *,
        engine: Engine | None = None,
        voice: Callable[[], VoiceActivity] | None = None,
    ) -> None:
        if (decode_fn is None) == (engine is None):
            raise ValueError("Pass a decode_fn or an engine, and not both.")
        self.config = config or StreamingConfig()
        self._decode_fn = decode_fn
        self._engine = engine
        self._session = Session(voice, self.config.stream())
        self._frames: deque[ServerFrame] = deque()
        self._texts: list[str] = []
        self._turn = asyncio.Lock()
        self._closed = False
        self._due: deque[Effect] = deque()
        self._dropped: set[int] = set()

    async def process_audio_chunk(self, audio: NDArray[np.float32]) -> Frame | None:
        """Take the next samples and return the oldest frame that is ready, or None.

        Frames that one call leaves over are returned by the next ones; a partial that a newer frame has
        overtaken is not.

        Args:
            audio: Floating point, shape ``(n,)``, mono, -1..1, at the config's sample rate; any length.

        Raises:
            TypeError: It is not a one-dimensional array of floats.
            RuntimeError: The transcriber is closed.
        """
        samples = np.asarray(audio)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise TypeError(f"Audio must be floats of shape (n,), not {samples.dtype} of {samples.shape}.")
        return await self._take(Audio(samples.astype("<f4").tobytes()))

    async def flush(self) -> Frame | None:
        """Finalise what is left and return the oldest frame that is ready, or None.

        Raises:
            RuntimeError: The transcriber is closed.
        """
        return await self._take(Commit())

    async def reset(self) -> None:
        """Forget audio, frames and transcript; the clock is at zero again.

        Raises:
            RuntimeError: The transcriber is closed.
        """
        await self._take(Reset())
        self._frames.clear()
        self._texts.clear()

    def frames(self) -> list[Frame]:
        """Return all frames that are ready and not yet returned."""
        ready = [_as_dict(frame) for frame in self._frames]
        self._frames.clear()
        return ready

    def get_full_transcript(self) -> str:
        """Return the finals' texts since the start or the last reset, joined."""
        return " ".join(self._texts)

    async def close(self) -> None:
        """End the stream; what was not flushed is dropped."""
        self._closed = True
        self._frames.clear()

    async def _take(self, frame: Audio | Commit | Reset) -> Frame | None:
        if self._closed:
            raise RuntimeError("This transcriber is closed.")
        async with self._turn:
            self._due.extend(self._session.receive(frame))
            await self._work()
        return _as_dict(self._frames.popleft()) if self._frames else None

    async def _work(self) -> None:
        """Carry out what is due; what a cancelled call leaves undone, the next one does."""
        while self._due:
            follow = await self._carry_out(self._due[0])
            self._due.popleft()
            self._due.extend(follow)

    async def _carry_out(self, effect: Effect) -> list[Effect]:
        match effect:
            case Send(frame):
                self._keep(frame)
            case Decode(key) if key not in self._dropped:
                return self._session.finished(key, await self._decode(effect.window))
            case Decode(key):
                self._dropped.discard(key)
            case Drop(keys):
                self._dropped.update(self._waiting_for(keys))
            case OpenModel(request):
                return self._session.opened(self._model(request))
            case Again():
                return self._session.proceed()
            case Close():
                self._closed = True
            case Listen() | Review() | Store() | Unstore():
                pass  # the session is offered no such thing
            case _:
                assert_never(effect)
        return []

    def _waiting_for(self, keys: tuple[int, ...]) -> set[int]:
        return {effect.key for effect in self._due if isinstance(effect, Decode) and effect.key in keys}

    def _model(self, request: ModelRequest) -> ModelAnswer:
        if self._engine is not None:
            return ModelAnswer(self._engine.name, self._engine.needs)
        return ModelAnswer(request.model, WindowNeeds("plain", sample_rate=None))

    async def _decode(self, window: Window) -> Hypothesis | DecodeFailed:
        try:
            if self._engine is not None:
                return (await asyncio.to_thread(self._engine.decode, [window]))[0]
            return hypothesis_of(await self._call(window))
        except Exception:  # foreign code: its failure is a gap with a name, never words
            log.debug("decode_failed", exc_info=True)
            return DecodeFailed()

    async def _call(self, window: Window) -> str:
        decode = self._decode_fn
        if decode is None:
            raise DecodeFailed
        answer = await asyncio.to_thread(_called, decode, window)
        text = await answer if inspect.isawaitable(answer) else answer
        if not isinstance(text, str):
            raise TypeError("decode_fn must return a string.")
        return text

    def _keep(self, frame: ServerFrame) -> None:
        """Queue a frame for the caller; the newest frame overtakes a partial before it."""
        match frame:
            case Partial() | Final() | Error():
                if self._frames and isinstance(self._frames[-1], Partial):
                    self._frames.pop()
                self._frames.append(frame)
                if isinstance(frame, Final):
                    self._texts.append(frame.text)
            case _:
                pass  # transcripts and states belong to the wire


def _called(decode: DecodeFn, window: Window) -> str | Awaitable[str]:
    try:
        return decode(window.audio.copy(), window.sample_rate)
    except StopIteration:  # no future can carry it
        raise DecodeFailed from None


def _as_dict(frame: ServerFrame) -> Frame:
    return msgspec.json.decode(encode_frame(frame), type=dict)

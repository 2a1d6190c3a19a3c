"""Transcriber for use inside another Python service: a session without a server."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, assert_never

import msgspec
import numpy as np
from numpy.typing import NDArray

from echoic.errors import DecodeFailed
from echoic.interfaces.engine import (
    Engine,
    EngineRequirements,
    Hypothesis,
    ModelRequest,
    OpenedModel,
    Window,
    build_text_hypothesis,
)
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.protocol.codec import encode_frame
from echoic.protocol.frames import Audio, Commit, Error, Final, Partial, Reset, ServerFrame
from echoic.session.config import StreamConfig
from echoic.session.effects import (
    CancelDecodes,
    Close,
    Continue,
    Decode,
    Diarize,
    DiscardRecording,
    Effect,
    FinalizeDiarization,
    OpenModel,
    RecordAudio,
    Send,
)
from echoic.session.session import Session
from echoic.text.vocabulary import Vocabulary, parse_vocabulary

DecodeFn: TypeAlias = Callable[[NDArray[np.float32], int], str | Awaitable[str]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamingConfig:
    """Settings of a transcriber, with the names and defaults of the protocol's ``config`` frame.

    Raises:
        ValueError: A value is out of range, or the vocabulary is invalid.
    """

    sample_rate: int = 16_000
    """Samples per second of the audio that is passed in."""
    chunk_duration: float = 2.0
    """Length of a window in seconds."""
    overlap_duration: float = 0.5
    """Seconds at the start of a window that repeat the window before; less than ``chunk_duration``."""
    model: str = "parakeet"
    """Name of the model."""
    model_variant: Literal["standard", "onnx", "mlx"] = "standard"
    """Variant of the model."""
    language: str | None = None
    """Language hint for the engine."""
    enable_partial: bool = True
    """Whether partials are returned."""
    partial_interval: float = 0.5
    """Seconds of audio between two partials."""
    min_partial_duration: float = 0.5
    """Seconds of new audio before the first partial of a segment."""
    word_timestamps: bool = False
    """Whether finals carry words with times, if the engine provides times."""
    vocabulary: Mapping[str, object] | None = None
    """``{"terms": […], "replacements": {…}}``, both optional. Only some engines use terms."""

    def __post_init__(self) -> None:
        if self.sample_rate < 1:
            raise ValueError("sample_rate must be at least 1.")
        if self.chunk_duration <= 0:
            raise ValueError("chunk_duration must be more than 0.")
        if not 0 <= self.overlap_duration < self.chunk_duration:
            raise ValueError("overlap_duration must be at least 0 and less than chunk_duration.")
        self._parse_vocabulary()

    def to_stream_config(self) -> StreamConfig:
        """Convert to the settings of a session."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return StreamConfig(**values | {"vocabulary": self._parse_vocabulary()})

    def _parse_vocabulary(self) -> Vocabulary:
        return Vocabulary().with_session_entries(parse_vocabulary(dict(self.vocabulary or {})))


FrameDict: TypeAlias = dict[str, object]


class ParakeetCoreTranscriber:
    """Turns arrays of samples into partial and final frames, for one stream.

    Frames are dicts as in docs/protocol.md. Concurrent calls wait for each other.

    Args:
        config: Settings. None means the defaults.
        decode_fn: ``(float32 samples of shape (n,), sample rate) -> text``. A plain function runs in a thread
            and may block; a coroutine function is awaited. An exception becomes an ``error`` frame with the
            times of the lost audio.
        engine: A loaded engine, instead of ``decode_fn``.
        build_detector: Builds a voice activity detector; windows without speech are then not decoded. None:
            all windows are decoded, and for an engine that decodes utterances all audio is one utterance,
            split when it grows too long.

    Raises:
        ValueError: Both or neither of ``decode_fn`` and ``engine`` are given.
    """

    def __init__(
        self,
        config: StreamingConfig | None = None,
        decode_fn: DecodeFn | None = None,
        *,
        engine: Engine | None = None,
        build_detector: Callable[[], VoiceActivityDetector] | None = None,
    ) -> None:
        if (decode_fn is None) == (engine is None):
            raise ValueError("Pass either decode_fn or engine, not both.")
        self.config = config or StreamingConfig()
        self._decode_fn = decode_fn
        self._engine = engine
        self._session = Session(build_detector, self.config.to_stream_config())
        self._frames: deque[ServerFrame] = deque()
        self._final_texts: list[str] = []
        self._call_lock = asyncio.Lock()
        self._is_closed = False
        self._effects: deque[Effect] = deque()
        self._cancelled_keys: set[int] = set()

    async def process_audio_chunk(self, audio: NDArray[np.float32]) -> FrameDict | None:
        """Process the next samples and return the oldest frame that is ready, or None.

        Further frames are returned by later calls. A partial is dropped when a newer frame follows it.

        Args:
            audio: Floating point, shape ``(n,)``, mono, -1..1, at the config's sample rate; any length.

        Raises:
            TypeError: ``audio`` is not a one-dimensional array of floats.
            RuntimeError: The transcriber is closed.
        """
        samples = np.asarray(audio)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise TypeError(
                f"Audio must be floats of shape (n,), not {samples.dtype} of shape {samples.shape}."
            )
        return await self._process_frame(Audio(samples.astype("<f4").tobytes()))

    async def flush(self) -> FrameDict | None:
        """Finalize pending audio and return the oldest frame that is ready, or None.

        Raises:
            RuntimeError: The transcriber is closed.
        """
        return await self._process_frame(Commit())

    async def reset(self) -> None:
        """Discard audio, frames and transcript; the clock returns to zero.

        Raises:
            RuntimeError: The transcriber is closed.
        """
        await self._process_frame(Reset())
        self._frames.clear()
        self._final_texts.clear()

    def frames(self) -> list[FrameDict]:
        """Return all frames that are ready and were not returned yet."""
        ready = [_to_dict(frame) for frame in self._frames]
        self._frames.clear()
        return ready

    def get_full_transcript(self) -> str:
        """Return the joined texts of all finals since the start or the last reset."""
        return " ".join(self._final_texts)

    async def close(self) -> None:
        """End the stream; audio that was not flushed is dropped."""
        self._is_closed = True
        self._frames.clear()

    async def _process_frame(self, frame: Audio | Commit | Reset) -> FrameDict | None:
        if self._is_closed:
            raise RuntimeError("This transcriber is closed.")
        async with self._call_lock:
            self._effects.extend(self._session.receive(frame))
            await self._run_effects()
        return _to_dict(self._frames.popleft()) if self._frames else None

    async def _run_effects(self) -> None:
        """Perform pending effects; if a call is cancelled, the next one continues."""
        while self._effects:
            new_effects = await self._run_effect(self._effects[0])
            self._effects.popleft()
            self._effects.extend(new_effects)

    async def _run_effect(self, effect: Effect) -> list[Effect]:
        match effect:
            case Send(frame):
                self._queue_frame(frame)
            case Decode(key) if key not in self._cancelled_keys:
                return self._session.on_decoded(key, await self._decode_window(effect.window))
            case Decode(key):
                self._cancelled_keys.discard(key)
            case CancelDecodes(keys):
                self._cancelled_keys.update(self._find_queued_decodes(keys))
            case OpenModel(request):
                return self._session.on_model_opened(self._open_model(request))
            case Continue():
                return self._session.continue_audio()
            case Close():
                self._is_closed = True
            case Diarize() | FinalizeDiarization() | RecordAudio() | DiscardRecording():
                pass  # the session has no such capabilities
            case _:
                assert_never(effect)
        return []

    def _find_queued_decodes(self, keys: tuple[int, ...]) -> set[int]:
        return {effect.key for effect in self._effects if isinstance(effect, Decode) and effect.key in keys}

    def _open_model(self, request: ModelRequest) -> OpenedModel:
        if self._engine is not None:
            return OpenedModel(self._engine.name, self._engine.requirements)
        return OpenedModel(request.model, EngineRequirements("overlap", sample_rate=None))

    async def _decode_window(self, window: Window) -> Hypothesis | DecodeFailed:
        try:
            if self._engine is not None:
                return (await asyncio.to_thread(self._engine.decode, [window]))[0]
            return build_text_hypothesis(await self._await_decode_fn(window))
        except Exception:  # any failure of foreign code becomes an error frame
            log.debug("decode_failed", exc_info=True)
            return DecodeFailed()

    async def _await_decode_fn(self, window: Window) -> str:
        decode = self._decode_fn
        if decode is None:
            raise DecodeFailed
        result = await asyncio.to_thread(_call_decode_fn, decode, window)
        text = await result if inspect.isawaitable(result) else result
        if not isinstance(text, str):
            raise TypeError("decode_fn must return a string.")
        return text

    def _queue_frame(self, frame: ServerFrame) -> None:
        """Queue a frame for the caller; it replaces a partial at the end of the queue."""
        match frame:
            case Partial() | Final() | Error():
                if self._frames and isinstance(self._frames[-1], Partial):
                    self._frames.pop()
                self._frames.append(frame)
                if isinstance(frame, Final):
                    self._final_texts.append(frame.text)
            case _:
                pass  # transcripts and status are not returned


def _call_decode_fn(decode: DecodeFn, window: Window) -> str | Awaitable[str]:
    try:
        return decode(window.audio.copy(), window.sample_rate)
    except StopIteration:  # a future cannot raise it
        raise DecodeFailed from None


def _to_dict(frame: ServerFrame) -> FrameDict:
    return msgspec.json.decode(encode_frame(frame), type=dict)

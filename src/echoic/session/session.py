"""A session: the state machine from client frames to effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from echoic.errors import DecodeFailed, ModelUnavailable, ProtocolError
from echoic.interfaces.diarizer import DiarizationResult, SpeakerTurn
from echoic.interfaces.engine import Hypothesis, ModelRequest, OpenedModel
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.protocol.constants import CLOSE_NORMAL
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
from echoic.protocol.pcm import decode_pcm
from echoic.session.config import Capabilities, StreamConfig, parse_config
from echoic.session.effects import Continue, DiscardRecording, Effect, OpenModel, RecordAudio, Send
from echoic.session.output_queue import (
    CloseAfter,
    OutputQueue,
    PendingDiarizationSummary,
    PendingFrame,
    PendingTranscript,
    ResetDone,
)
from echoic.session.pipeline import RecognitionPipeline
from echoic.session.rendering import build_configured, build_error, build_storage_warning, build_warnings
from echoic.session.sized_queue import SizedQueue, count_audio_bytes
from echoic.session.speaker_tracking import DiarizationRequest, SpeakerTracker
from echoic.units import to_samples


class State(Enum):
    """States of a session."""

    LIVE = auto()
    """Frames are handled at once."""
    BUSY = auto()
    """A model is opening or buffered audio is left; frames are queued."""
    ENDING = auto()
    """Pending output is delivered, then the connection closes."""
    CLOSED = auto()
    """Nothing is sent or handled any more."""


@dataclass(frozen=True, slots=True)
class EndRequest:
    """The driver's request to end the stream; queued like a frame while the session is busy."""

    code: int
    """WebSocket close code."""
    error: Error | None = None
    """Frame to send before the close."""


#: Seconds of audio that one call processes before it returns ``Continue``: a message may hold minutes, and
#: the voice activity model would block the event loop.
_STEP_SECONDS = 2.0
#: Queued frames other than audio, or pending replies, above which the session is full.
_MAX_QUEUED_FRAMES = 64
#: Queued audio frames above which the session is full; half a minute in messages of 20 ms.
_MAX_QUEUED_AUDIO = 1_500


def _grant_all(samples: int, _: int) -> int:
    return samples


class Session:
    """A stream of audio from its first frame to its close.

    Plain synchronous code without clock, thread or I/O: the driver passes frames and results in and performs
    the returned effects in order.

    Args:
        build_detector: Builds a voice activity detector. If None, windows without speech are decoded too.
        defaults: Settings before any ``config`` frame.
        grant: Called with a number of samples and their rate before they are processed; returns how many
            are allowed. If that is fewer, the quota is used up and the rest is dropped. None means that the
            quota store has not answered yet: the session asks again after a ``Continue``.
        capabilities: Optional features of the server.
        recording: Name of the session's recording for the diarization summary.
    """

    def __init__(
        self,
        build_detector: Callable[[], VoiceActivityDetector] | None = None,
        defaults: StreamConfig | None = None,
        grant: Callable[[int, int], int | None] | None = None,
        capabilities: Capabilities | None = None,
        recording: str | None = None,
    ) -> None:
        self._build_detector = build_detector
        self._grant = grant or _grant_all
        self._config = defaults or StreamConfig()
        self._state = State.LIVE
        self._pipeline: RecognitionPipeline | None = None
        self._pending_config: tuple[StreamConfig, tuple[str, ...] | None] | None = None
        self._unprocessed: NDArray[np.float32] | None = None
        self._unavailable_model: ModelRequest | None = None
        self._queued_frames: SizedQueue[ClientFrame | EndRequest] = SizedQueue(count_audio_bytes)
        self._output = OutputQueue()
        self._last_partial = 0
        #: Only every n-th due partial is requested (load shedding); finals do not depend on it.
        self.partial_every = 1
        self._capabilities = capabilities or Capabilities()
        #: Name of the session's recording for the diarization summary, or None.
        self.recording = recording
        self._speaker_tracker: SpeakerTracker | None = None
        self._diarizes = False

    # ---- called by the driver

    def receive(self, frame: ClientFrame | EndRequest) -> list[Effect]:
        """Handle a frame of the client; a frame that is not legal in this state is ignored."""
        handler = self._HANDLERS.get((self._state, type(frame)))
        if handler is None:
            return []
        return [*handler(self, frame), *self._send_ready_finals()]

    def on_model_opened(self, answer: OpenedModel | ModelUnavailable) -> list[Effect]:
        """Handle the result of ``OpenModel``."""
        if self._pending_config is None:
            return []
        (config, ignored), self._pending_config = self._pending_config, None
        if isinstance(answer, ModelUnavailable):
            self._output.add_item(PendingFrame(build_error(answer)))
            if self._pipeline is None:
                self._unavailable_model = ModelRequest(config.model, config.variant)
                self._drop_queued_audio()
        else:
            self._start_pipeline(config, answer, ignored)
        self._state = State.LIVE
        return [*self._send_ready_finals(), *self._process_queued()]

    def continue_audio(self) -> list[Effect]:
        """Process buffered audio, after a ``Continue``."""
        if self._unprocessed is None:
            return []
        samples, self._unprocessed = self._unprocessed, None
        self._state = State.LIVE
        effects = [*self._push_audio(samples), *self._send_ready_finals()]
        return [*effects, *self._process_queued()]

    def on_decoded(self, key: int, outcome: Hypothesis | DecodeFailed) -> list[Effect]:
        """Handle the result of a ``Decode``; results of cancelled decodes are ignored."""
        self._output.on_decoded(key, outcome)
        return self._send_ready_finals()

    def on_diarized(self, key: int, result: DiarizationResult | None) -> list[Effect]:
        """Handle the result of ``Diarize``, or None if it failed."""
        return [*self._output.on_diarized(key, result), *self._send_ready_finals()]

    def on_diarization_finalized(self, key: int, turns: tuple[SpeakerTurn, ...] | None) -> list[Effect]:
        """Handle the result of ``FinalizeDiarization``, or None if it failed."""
        self._output.on_diarization_finalized(key, turns)
        return self._send_ready_finals()

    def on_recording_failed(self) -> list[Effect]:
        """Stop recording after a storage failure and warn the client."""
        self.recording = self._output.recording = None
        return [Send(build_storage_warning())]

    def end_stream(self, code: int, error: Error | None = None) -> list[Effect]:
        """Finalize and deliver all received audio, send ``error`` if given, and close with ``code``."""
        return self.receive(EndRequest(code, error))

    @property
    def config(self) -> StreamConfig:
        """The settings in force."""
        return self._config

    @property
    def is_ending(self) -> bool:
        """Whether the session is ending or closed."""
        return self._state in (State.ENDING, State.CLOSED)

    @property
    def backlog(self) -> float:
        """Seconds of received audio whose finals are not delivered yet, without the open segment."""
        left = 0 if self._unprocessed is None else len(self._unprocessed)
        queued = self._queued_frames.size / self._bytes_per_second
        return self._output.pending_seconds + left / self._config.sample_rate + queued

    @property
    def progress(self) -> tuple[int, int]:
        """Microseconds of audio in all ended segments since the start, and in the delivered ones."""
        return self._output.progress

    @property
    def is_full(self) -> bool:
        """Whether too many frames or replies are queued to read more from the client."""
        others = self._queued_frames.unsized_count + self._output.pending_replies
        return others > _MAX_QUEUED_FRAMES or len(self._queued_frames) > _MAX_QUEUED_AUDIO

    # ---- frames

    def _on_config(self, frame: Config) -> Iterator[Effect]:
        try:
            config, ignored = parse_config(frame.values, self._config)
        except ProtocolError as error:
            yield Send(build_error(error))
            return
        yield from self._close_segment(flush=True)
        request = ModelRequest(config.model, config.variant)
        if self._pipeline and request == ModelRequest(self._config.model, self._config.variant):
            self._start_pipeline(config, self._pipeline.model, ignored)
            return
        yield from self._open_model(config, ignored)

    def _on_audio(self, frame: Audio) -> Iterator[Effect]:
        try:
            samples = decode_pcm(frame.data, self._config.audio_format, self._config.channels)
        except ProtocolError as error:
            yield Send(build_error(error))
            return
        if self._pipeline is None:
            if self._unavailable_model == ModelRequest(self._config.model, self._config.variant):
                return  # the error was sent already
            self._queued_frames.appendleft(frame)  # keeps its place in front
            yield from self._open_model(self._config, None)
            return
        yield from self._push_audio(samples)

    def _on_commit(self, _: Commit) -> Iterator[Effect]:
        yield from self._close_segment(flush=True)
        self._output.add_item(PendingTranscript(is_required=True))
        if self._speaker_tracker:
            self._output.add_item(PendingDiarizationSummary(self._speaker_tracker))

    def _on_reset(self, _: Reset) -> Iterator[Effect]:
        """Discard audio and segments; replies to earlier commits are still delivered."""
        self._last_partial = 0
        yield from self._output.discard_segments()
        if self._pipeline:
            self._pipeline = RecognitionPipeline(self._config, self._pipeline.model, self._build_detector)
            self._configure_diarization(self._pipeline, is_reset=True)
        self._unavailable_model = None
        self._output.add_item(ResetDone())
        if self._records_audio:
            yield DiscardRecording()

    def _on_stop(self, _: Stop) -> Iterator[Effect]:
        return self._on_end(EndRequest(CLOSE_NORMAL))

    def _on_end(self, end: EndRequest) -> Iterator[Effect]:
        yield from self._close_segment(flush=True)
        self._output.add_item(PendingTranscript(is_required=False))
        if self._speaker_tracker:
            self._output.add_item(PendingDiarizationSummary(self._speaker_tracker))
        if end.error:
            self._output.add_item(PendingFrame(end.error))
        self._output.add_item(CloseAfter(end.code))
        self._state = State.ENDING

    def _on_ping(self, _: Ping) -> list[Effect]:
        return [Send(Pong())]

    def _on_auth(self, _: Auth) -> list[Effect]:
        return [Send(Status(state="authenticated"))]

    def _queue_frame(self, frame: ClientFrame | EndRequest) -> list[Effect]:
        self._queued_frames.append(frame)
        return []

    # ---- models and settings

    def _open_model(self, config: StreamConfig, ignored: tuple[str, ...] | None) -> Iterator[Effect]:
        self._pending_config = (config, ignored)
        self._state = State.BUSY
        yield OpenModel(ModelRequest(config.model, config.variant))

    def _start_pipeline(
        self, config: StreamConfig, model: OpenedModel, ignored: tuple[str, ...] | None
    ) -> None:
        old = self._pipeline
        if old and old.model == model and self._config.sample_rate == config.sample_rate:
            old.clock.set_durations(config.chunk_duration, config.overlap_duration)
            old.apply_config(config)
        else:
            base = old.clock.to_seconds(old.clock.consumed) if old else 0.0
            self._pipeline = RecognitionPipeline(config, model, self._build_detector, base)
        self._config = config
        if self._pipeline:
            self._configure_diarization(self._pipeline)
        is_new_model = not old or old.model != model
        for warning in build_warnings(config, model, self._capabilities, is_new_model=is_new_model):
            self._output.add_item(PendingFrame(warning))
        if ignored is not None:
            self._output.add_item(PendingFrame(build_configured(config, model, self._capabilities, ignored)))

    def _configure_diarization(self, pipeline: RecognitionPipeline, *, is_reset: bool = False) -> None:
        """Start or stop diarization and recording as the settings say."""
        options, is_available = self._config.diarization, self._capabilities.diarization is None
        if is_reset:
            self._speaker_tracker = None
        self._diarizes = options is not None and is_available
        if options is not None and is_available:
            self._speaker_tracker = self._speaker_tracker or SpeakerTracker(options.speakers)
            self._speaker_tracker.options = options.speakers
        pipeline.collect_chunks(enabled=self._diarizes or self._records_audio)
        self._output.recording = self.recording if self._records_audio else None

    @property
    def _records_audio(self) -> bool:
        options = self._config.diarization
        return options is not None and options.store_audio and self._capabilities.storage is None

    def _drop_queued_audio(self) -> None:
        while self._queued_frames and isinstance(self._queued_frames[0], Audio):
            self._queued_frames.popleft()

    def _process_queued(self) -> list[Effect]:
        effects: list[Effect] = []
        while self._queued_frames and self._state is State.LIVE:
            effects += self.receive(self._queued_frames.popleft())
        return effects

    # ---- audio

    def _push_audio(self, samples: NDArray[np.float32]) -> Iterator[Effect]:
        pipeline = self._pipeline
        if pipeline is None:
            return
        step = min(len(samples), to_samples(_STEP_SECONDS, pipeline.clock.rate))
        granted = self._grant(step, pipeline.clock.rate)
        if granted is None:
            yield from self._defer_audio(samples)
            return
        samples, rest = samples[:granted], samples[step:]
        if granted < step:  # later audio is dropped; the driver ends the stream
            rest = rest[:0]
            self._queued_frames.retain_if(lambda item: isinstance(item, EndRequest))
        while len(samples):
            samples = samples[pipeline.push_audio(samples) :]
            if pipeline.clock.consumed == pipeline.clock.next_end:
                yield from self._close_segment(flush=False)
        if len(rest):
            yield from self._defer_audio(rest)
        else:
            yield from self._request_partial(pipeline)

    def _defer_audio(self, samples: NDArray[np.float32]) -> Iterator[Effect]:
        self._unprocessed = samples
        self._state = State.BUSY
        yield Continue()

    def _close_segment(self, *, flush: bool) -> Iterator[Effect]:
        """End the open segment, unless it is empty; its final is sent once its windows are decoded."""
        pipeline = self._pipeline
        if pipeline is None or not (pipeline.clock.pending or (flush and pipeline.holds_words)):
            return
        # Before ``close_segment``: planning windows discards the speech positions that the chunk needs.
        chunk = pipeline.take_chunk(is_last=flush)
        segment = pipeline.close_segment(flush=flush)
        if chunk is not None and self._speaker_tracker and self._diarizes:
            segment.diarization = DiarizationRequest(self._speaker_tracker, chunk)
        self._output.add_item(segment)
        self._last_partial = 0
        if chunk is not None and self._records_audio:
            yield RecordAudio(chunk.audio)

    def _request_partial(self, pipeline: RecognitionPipeline) -> Iterator[Effect]:
        """Request a partial if one is due; never while finals are pending."""
        config, clock = self._config, pipeline.clock
        number = clock.pending // max(1, to_samples(config.partial_interval, clock.rate))
        is_too_short = clock.pending < to_samples(config.min_partial_duration, clock.rate)
        is_too_early = number < self._last_partial + self.partial_every
        if not config.enable_partial or is_too_early or is_too_short or self._output.pending_finals:
            return
        self._last_partial = number
        yield from self._output.replace_partial(pipeline.plan_partial())

    @property
    def _bytes_per_second(self) -> int:
        return self._config.bytes_per_sample * self._config.sample_rate

    def _send_ready_finals(self) -> list[Effect]:
        effects = self._output.send_ready_finals()
        if self._output.is_over:
            self._state = State.CLOSED
        if self._pipeline:
            self._pipeline.discard_before_segments(self._output.pending_segments)
        return effects

    #: Handlers by state and frame; a frame without a handler is not allowed in that state and is ignored.
    _HANDLERS: ClassVar[Mapping[tuple[State, type], Callable[..., Iterable[Effect]]]] = {
        (State.LIVE, Config): _on_config,
        (State.LIVE, Audio): _on_audio,
        (State.LIVE, Commit): _on_commit,
        (State.LIVE, Reset): _on_reset,
        (State.LIVE, Stop): _on_stop,
        (State.LIVE, Ping): _on_ping,
        (State.LIVE, Auth): _on_auth,
        (State.LIVE, EndRequest): _on_end,
        (State.BUSY, EndRequest): _queue_frame,
        (State.BUSY, Config): _queue_frame,
        (State.BUSY, Audio): _queue_frame,
        (State.BUSY, Commit): _queue_frame,
        (State.BUSY, Reset): _queue_frame,
        (State.BUSY, Stop): _queue_frame,
        (State.BUSY, Ping): _on_ping,
        (State.BUSY, Auth): _on_auth,
        (State.ENDING, Ping): _on_ping,
    }

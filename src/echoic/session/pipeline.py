"""Recognition pipeline of a session: buffers audio, plans windows, turns hypotheses into words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from echoic.audio.buffer import AudioBuffer
from echoic.audio.resample import Resampler
from echoic.audio.vad import AlwaysSpeech, SpeechDetector
from echoic.interfaces.diarizer import DiarizationChunk
from echoic.interfaces.engine import DecodeOptions, EngineRequirements, Hypothesis, OpenedModel, Window
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.session.config import StreamConfig
from echoic.session.decoding.local_agreement import LocalAgreementStrategy
from echoic.session.decoding.overlap import OverlapStrategy
from echoic.session.decoding.stateful import StatefulStrategy
from echoic.session.decoding.strategy import (
    DecodingStrategy,
    SegmentBounds,
    TimedWord,
    WindowResult,
    WindowSpan,
)
from echoic.session.segments import SegmentClock, SegmentSpan
from echoic.session.speaker_tracking import ChunkCollector, DiarizationRequest
from echoic.session.word_replacement import ReplacementBuffer
from echoic.text.replacements import Replacements
from echoic.units import TIME_DECIMALS, rescale, to_seconds

#: Hypotheses kept for windows that are requested again: those of the last partials.
_MAX_CACHED_HYPOTHESES = 8


@dataclass(slots=True)
class PendingWindow:
    """A planned window and the state of its decode."""

    span: WindowSpan
    """Position of the window in the buffer."""
    key: int | None = None
    """Key of the running decode, or None."""
    start_seconds: float = 0.0
    """Seconds on the session's clock of the first sample."""
    failures: int = 0
    """Number of failed decodes."""
    result: WindowResult | None = None
    """Result of the decode, or None while there is none."""
    is_cached: bool = False
    """Whether the result was known before the window was planned."""

    @property
    def is_started(self) -> bool:
        """Whether its decode is running or done."""
        return self.key is not None or self.result is not None

    @property
    def is_lost(self) -> bool:
        """Whether its decode failed for good and no later window contains its words."""
        return self.result is not None and self.result.hypothesis is None and self.span.is_only_source

    def set_hypothesis(self, hypothesis: Hypothesis | None) -> None:
        """Store the hypothesis, or None if the decode failed and is not tried again."""
        self.result = WindowResult(self.span, self.start_seconds, hypothesis)


@dataclass(slots=True, eq=False)
class PendingSegment:
    """A segment, or a partial of the open segment, until all its windows are decoded."""

    span: SegmentSpan
    """Position of the segment in the client's audio."""
    pipeline: RecognitionPipeline
    """The pipeline that planned it."""
    windows: tuple[PendingWindow, ...]
    """Windows that contain its words."""
    is_flush: bool
    """Whether all words are emitted with it."""
    for_partial: bool
    """Whether it is a partial."""
    tail: NDArray[np.float32] = field(repr=False)
    """float32: samples that the resampler still held when the windows were planned."""
    tail_position: int
    """Position in the buffer of the first sample of ``tail``."""
    has_word_times: bool
    """Whether the final carries word times."""
    replacements: Replacements
    """Replacements to apply to its words."""
    has_no_audio: bool = False
    """Whether it has no audio and only emits words that were held back."""
    diarization: DiarizationRequest | None = None
    """Diarization of its audio, or None if not requested."""

    @property
    def clock(self) -> SegmentClock:
        """Converts positions of the segment to seconds."""
        return self.pipeline.clock

    @property
    def seconds(self) -> float:
        """Length of the new audio in seconds."""
        return to_seconds(self.span.end - self.span.start, self.clock.rate)

    @property
    def start_seconds(self) -> float:
        """Start of the new audio in seconds on the session's clock."""
        return self.clock.to_seconds(self.span.start)

    @property
    def end_seconds(self) -> float:
        """End of the audio in seconds on the session's clock."""
        return self.clock.to_seconds(self.span.end)

    @property
    def decoded_seconds(self) -> float:
        """Seconds of audio in its windows."""
        return self.pipeline.count_decoded_seconds(self.windows)

    @property
    def model_name(self) -> str:
        """Name of the model that decodes it."""
        return self.pipeline.model.name

    @property
    def max_ahead(self) -> int:
        """Maximum number of concurrent decodes of its pipeline."""
        return self.pipeline.strategy.max_ahead

    @property
    def running_keys(self) -> tuple[int, ...]:
        """Keys of the running decodes."""
        return tuple(window.key for window in self.windows if window.key is not None)

    @property
    def results(self) -> list[WindowResult] | None:
        """Results of all windows, or None while some are missing."""
        results = [window.result for window in self.windows if window.result is not None]
        return results if len(results) == len(self.windows) else None

    @property
    def is_ready(self) -> bool:
        """Whether decodes and diarization are done."""
        return self.results is not None and not (self.diarization and self.diarization.is_waiting)

    @property
    def has_lost_audio(self) -> bool:
        """Whether words are missing because a decode failed."""
        return any(window.is_lost for window in self.windows)

    def find_lost_audio(self) -> tuple[float, float]:
        """Return start and end of the lost audio, in seconds on the session's clock."""
        lost = [self.pipeline.locate_window(window.span) for window in self.windows if window.is_lost]
        context = self.clock.to_seconds(self.span.context)
        return min(context, *(start for start, _ in lost)), max(end for _, end in lost)

    def cut_window(self, window: PendingWindow) -> Window:
        """Cut the audio of one of its windows from the buffer."""
        return self.pipeline.cut_window(self, window)

    def set_hypothesis(self, window: PendingWindow, hypothesis: Hypothesis) -> None:
        """Store the hypothesis of one of its windows."""
        window.set_hypothesis(hypothesis)
        self.pipeline.cache_hypothesis(self, window, hypothesis)

    def emit_words(self) -> list[TimedWord]:
        """Return the words to emit with the segment; call once, in the order of the segments."""
        return self.pipeline.emit_words(self, self.results or [])

    def preview_words(self) -> list[TimedWord]:
        """Return the words of the partial."""
        return self.pipeline.preview_words(self, self.results or [])


class RecognitionPipeline:
    """The audio of a session since its sample rate or its engine last changed.

    Positions in the buffer are samples at the engine's sample rate since the pipeline began.

    Args:
        config: Settings of the session.
        model: The model that decodes it.
        build_detector: Builds the voice activity detector. If None, all audio counts as speech.
        base: Seconds on the session's clock at which the pipeline begins.
    """

    def __init__(
        self,
        config: StreamConfig,
        model: OpenedModel,
        build_detector: Callable[[], VoiceActivityDetector] | None,
        base: float = 0.0,
    ) -> None:
        self.model = model
        self.clock = SegmentClock(config.sample_rate, config.chunk_duration, config.overlap_duration, base)
        self._rate = model.requirements.sample_rate or config.sample_rate
        self._resampler = Resampler(config.sample_rate, self._rate)
        self._buffer = AudioBuffer()
        self._speech_detector = (
            SpeechDetector(build_detector(), self._rate, model.requirements.max_window_seconds)
            if build_detector
            else None
        )
        self.strategy: DecodingStrategy = self._build_strategy(model.requirements)
        self._replacement_buffer = ReplacementBuffer()
        self._has_open_phrase = False
        self._cached_hypotheses: dict[tuple[int, int], Hypothesis] = {}
        self._chunk_collector: ChunkCollector | None = None
        self.apply_config(config)

    def apply_config(self, config: StreamConfig) -> None:
        """Use the language, vocabulary and word times of these settings from the next segment on."""
        vocabulary = config.vocabulary
        self.options = DecodeOptions(config.language, vocabulary.hotwords, vocabulary.prompt)
        self.has_word_times, self._replacements = config.word_timestamps, vocabulary.replacements

    def _build_strategy(self, requirements: EngineRequirements) -> DecodingStrategy:
        has_speech = self._speech_detector.has_speech if self._speech_detector else None
        match requirements.strategy:
            case "stateful":
                return StatefulStrategy(requirements, self._rate, self._to_session_seconds, has_speech)
            case "local_agreement":
                self._speech_detector = self._speech_detector or SpeechDetector(
                    AlwaysSpeech(), self._rate, requirements.max_window_seconds
                )
                return LocalAgreementStrategy(
                    self._speech_detector, requirements.window_step_seconds, requirements.min_confidence
                )
            case "overlap":
                return OverlapStrategy(
                    self._rate,
                    self._to_session_seconds,
                    has_speech,
                    has_word_times=requirements.has_word_times,
                )

    # ---- audio

    def push_audio(self, samples: NDArray[np.float32]) -> int:
        """Buffer samples up to the end of the open segment.

        Args:
            samples: float32, shape ``(n,)``, mono, -1..1, at the client's sample rate.

        Returns:
            The number of samples taken.
        """
        taken = samples[: self.clock.next_end - self.clock.consumed]
        resampled = self._resampler.push(taken)
        self._buffer.append(resampled)
        if self._speech_detector:
            self._speech_detector.push(resampled)
        if self._chunk_collector:
            self._chunk_collector.push_audio(taken, resampled)
        self.clock.consumed += len(taken)
        return len(taken)

    def collect_chunks(self, *, enabled: bool) -> None:
        """Start or stop collecting audio for ``take_chunk``."""
        if not enabled:
            self._chunk_collector = None
        elif self._chunk_collector is None:
            self._chunk_collector = ChunkCollector(self.clock.rate, self._rate, self._buffer.end)

    def take_chunk(self, *, is_last: bool) -> DiarizationChunk | None:
        """Return the audio collected since the last call with its speech, or None if nothing is collected."""
        if self._chunk_collector is None:
            return None
        audio, begin, end = self._chunk_collector.take_audio()
        spans = self._speech_detector.find_speech(begin, end) if self._speech_detector else ((begin, end),)
        convert = self._chunk_collector.to_chunk_samples
        speech = tuple(
            (convert(start, begin), min(convert(stop, begin), len(audio))) for start, stop in spans
        )
        return DiarizationChunk(audio, self._to_session_seconds(begin), speech, is_last=is_last)

    def discard_before_segments(self, segments: Iterable[PendingSegment]) -> None:
        """Discard audio that neither these segments nor later ones need."""
        starts = [w.span.start for segment in segments if segment.pipeline is self for w in segment.windows]
        context = rescale(self.clock.current_span().context, self.clock.rate, self._rate)
        self._buffer.discard_before(min([*starts, context, self.strategy.keep_from]))
        if self._speech_detector:
            self._speech_detector.discard_before(min(context, self.strategy.keep_from))

    def _to_session_seconds(self, position: int) -> float:
        """Convert a position in the buffer to seconds on the session's clock."""
        return round(self.clock.base + position / self._rate, TIME_DECIMALS)

    # ---- segments and their words

    @property
    def holds_words(self) -> bool:
        """Whether words of earlier segments may still be held back."""
        return self.strategy.holds_words or self._has_open_phrase

    def close_segment(self, *, flush: bool) -> PendingSegment:
        """End the open segment and plan its windows."""
        has_no_audio = not (self.clock.pending or self.strategy.holds_words)
        span = self.clock.close_segment()
        spans = () if has_no_audio else self.strategy.plan_windows(self._to_bounds(span, flush=flush))
        self._has_open_phrase = not flush and self._replacements.has_phrases
        segment = self._build_segment(span, spans, flush=flush, for_partial=False)
        segment.has_no_audio = has_no_audio
        return segment

    def plan_partial(self) -> PendingSegment:
        """Plan the windows of a partial at the end of the audio."""
        span = self.clock.current_span()
        spans = self.strategy.plan_preview(self._to_bounds(span, flush=False))
        return self._build_segment(span, spans, flush=False, for_partial=True)

    def emit_words(self, segment: PendingSegment, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the new words of a segment, with replacements applied."""
        words = [] if segment.has_no_audio else self.strategy.emit_words(results, flush=segment.is_flush)
        return self._replacement_buffer.apply_to_words(
            words, segment.replacements, segment.end_seconds, flush=segment.is_flush
        )

    def preview_words(self, segment: PendingSegment, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words after the last emitted word, including those that may still change."""
        words = self.strategy.preview_words(results)
        return self._replacement_buffer.preview_words(words, segment.replacements)

    def _to_bounds(self, span: SegmentSpan, *, flush: bool) -> SegmentBounds:
        """Convert a segment to positions in the buffer."""
        shared = self.clock.overlap_at(span.end)
        positions = (span.context, span.start, span.end, shared)
        context, start, end, shared = (rescale(p, self.clock.rate, self._rate) for p in positions)
        return SegmentBounds(context, start, end, shared, is_flush=flush)

    def _build_segment(
        self, span: SegmentSpan, spans: tuple[WindowSpan, ...], *, flush: bool, for_partial: bool
    ) -> PendingSegment:
        return PendingSegment(
            span,
            self,
            tuple(self._build_window(window_span) for window_span in spans),
            flush,
            for_partial,
            self._resampler.preview_tail(),
            self._buffer.end,
            self.has_word_times,
            self._replacements,
        )

    # ---- windows

    def _build_window(self, span: WindowSpan) -> PendingWindow:
        window = PendingWindow(span, start_seconds=self._to_session_seconds(span.start))
        if cached := self._cached_hypotheses.get((span.start, span.end)):
            window.set_hypothesis(cached)
            window.is_cached = True
        return window

    def cache_hypothesis(
        self, segment: PendingSegment, window: PendingWindow, hypothesis: Hypothesis
    ) -> None:
        """Keep a hypothesis in case its window is planned again, unless its audio included the tail."""
        if self.strategy.repeats_windows and window.span.end <= segment.tail_position:
            self._cached_hypotheses[window.span.start, window.span.end] = hypothesis
            if len(self._cached_hypotheses) > _MAX_CACHED_HYPOTHESES:
                del self._cached_hypotheses[next(iter(self._cached_hypotheses))]

    def cut_window(self, segment: PendingSegment, window: PendingWindow) -> Window:
        """Cut the audio of a planned window from the buffer and the tail of the resampler."""
        span = window.span
        start = max(span.start, self._buffer.start)
        window.start_seconds = self._to_session_seconds(start)
        return Window(
            self._read_audio(segment, start, span.end),
            self._rate,
            window.start_seconds,
            left_context=max(span.new_start - start, 0),
            new_samples=span.new_end - max(span.new_start, start),
            right_context=span.end - span.new_end,
            is_last=span.is_last,
            for_partial=segment.for_partial,
            state=self.strategy.state,
            options=self.options,
        )

    def _read_audio(self, segment: PendingSegment, start: int, end: int) -> NDArray[np.float32]:
        """Return samples from ``start`` to ``end``; those after the buffer come from the segment's tail."""
        tail_start = segment.tail_position
        split = min(max(start, tail_start), end)
        audio = self._buffer.read(start, split) if start < tail_start else np.empty(0, np.float32)
        if end > split:
            audio = np.concatenate([audio, segment.tail[split - tail_start : end - tail_start]])
        return audio

    def locate_window(self, span: WindowSpan) -> tuple[float, float]:
        """Return the start of a window's new audio and its end, in seconds on the session's clock."""
        return self._to_session_seconds(span.new_start), self._to_session_seconds(span.end)

    def count_decoded_seconds(self, windows: Iterable[PendingWindow]) -> float:
        """Return the seconds of audio in windows."""
        samples = sum(window.span.end - max(window.span.start, 0) for window in windows)
        return to_seconds(samples, self._rate)

"""Words as they are said to the client: those of a vocabulary in place of what was heard, times kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

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
from echoic.text.replacements import Replacements
from echoic.units import TIME_DECIMALS, rescale, to_seconds

#: Seconds of audio without a new word after which the beginning of a phrase is said as it is.
_PATIENCE = 1.0


class ReplacementBuffer:
    """Says the words of one stretch, segment by segment.

    What may be the beginning of a phrase that is to be replaced waits until it is known how it goes on.
    """

    def __init__(self) -> None:
        self._held: list[TimedWord] = []
        self._held_since = 0.0

    def apply_to_words(
        self, words: Sequence[TimedWord], replacements: Replacements, end: float, *, flush: bool
    ) -> list[TimedWord]:
        """Return what is to be said of a segment's words.

        Args:
            words: Those that are new with it.
            replacements: What is put in place of what.
            end: Seconds on the session's clock at which it ends.
            flush: Everything is to be said.
        """
        known = [*self._held, *words]
        whole = len(known)
        if words:
            self._held_since = end
        if not flush and replacements.has_phrases and end - self._held_since < _PATIENCE:
            whole = replacements.count_unfinished_words([word.text for word in known])
        self._held = known[whole:]
        return replace_words(known[:whole], replacements)

    def preview_words(self, words: Sequence[TimedWord], replacements: Replacements) -> list[TimedWord]:
        """Return what would be said of words that may still change."""
        return replace_words([*self._held, *words], replacements)


def replace_words(words: Sequence[TimedWord], replacements: Replacements) -> list[TimedWord]:
    """Return words with what was meant in place of what was heard.

    As many words as before keep their times, one by one. More or fewer share the time of those whose place
    they take, each by its letters; their confidence is that of the least sure.
    """
    said: list[TimedWord] = []
    done = 0
    for edit in replacements.find_edits([word.text for word in words]) if replacements else ():
        said += words[done : edit.first]
        said += _put_in(words[edit.first : edit.end], edit.words)
        done = edit.end
    return [*said, *words[done:]]


def _put_in(heard: Sequence[TimedWord], meant: Sequence[str]) -> list[TimedWord]:
    if len(heard) == len(meant):
        return [replace(old, text=new) for old, new in zip(heard, meant, strict=True)]
    known = [word.confidence for word in heard if word.confidence is not None]
    ends = heard[0].rough_span and heard[-1].rough_span and (heard[0].rough_span[0], heard[-1].rough_span[1])
    like = replace(heard[0], confidence=min(known) if known else None, rough_span=ends)
    start, end = heard[0].start, heard[-1].end
    if start is None or end is None:
        return [replace(like, text=word, start=None, end=None) for word in meant]
    whole = sum(len(word) for word in meant)
    edges = [start + (end - start) * part / whole for part in accumulate(map(len, meant), initial=0)]
    return [
        replace(like, text=word, start=begins, end=ends)
        for word, (begins, ends) in zip(meant, pairwise(edges), strict=True)
    ]


#: Hypotheses kept for windows that are asked for again: those of the last partials.
_MAX_CACHED_HYPOTHESES = 8


@dataclass(slots=True)
class PendingWindow:
    """A planned window and what became of it.

    Attributes:
        span: Where the window lies on the tape.
        key: The decode under way, or None.
        start_seconds: Seconds on the session's clock of the window's first sample, once it was cut.
        failures: How often its decode failed.
        result: What came back.
        is_cached: The answer was there before the window was planned.
    """

    span: WindowSpan
    key: int | None = None
    start_seconds: float = 0.0
    failures: int = 0
    result: WindowResult | None = None
    is_cached: bool = False

    @property
    def is_started(self) -> bool:
        """Whether its decode is under way or done."""
        return self.key is not None or self.result is not None

    @property
    def is_lost(self) -> bool:
        """Whether its decode was given up, and no later window brings its words."""
        return self.result is not None and self.result.hypothesis is None and self.span.is_vital

    def set_hypothesis(self, hypothesis: Hypothesis | None) -> None:
        """Take the hypothesis, or None: the decode is given up."""
        self.result = WindowResult(self.span, self.start_seconds, hypothesis)


@dataclass(slots=True, eq=False)
class PendingSegment:
    """The windows of one segment or one partial.

    Attributes:
        span: The segment's place, in samples of the client's audio.
        pipeline: Where its audio is.
        windows: Its windows.
        flush: Everything heard is to be said.
        for_partial: It is for a partial.
        tail: float32, what the resampler still held back when the plan was made; for these windows
            it follows the tape's position ``tail_position``.
        tail_position: The tape's end when the plan was made.
        has_word_times: Whether its words go out with their times.
        replacements: What is put in place of what in its words.
        is_silent: It has no audio; only words that were held back are said.
        diarization: Its sound on the way to the diarizer and back, or None: nobody asks who speaks.
    """

    span: SegmentSpan
    pipeline: RecognitionPipeline
    windows: tuple[PendingWindow, ...]
    flush: bool
    for_partial: bool
    tail: NDArray[np.float32] = field(repr=False)
    tail_position: int
    has_word_times: bool
    replacements: Replacements
    is_silent: bool = False
    diarization: DiarizationRequest | None = None

    @property
    def running_keys(self) -> tuple[int, ...]:
        """Keys of the decodes under way."""
        return tuple(slot.key for slot in self.windows if slot.key is not None)

    @property
    def results(self) -> list[WindowResult] | None:
        """All answers, or None while some are missing."""
        answers = [slot.result for slot in self.windows if slot.result is not None]
        return answers if len(answers) == len(self.windows) else None

    @property
    def is_ready(self) -> bool:
        """Whether its words are known, and who says them if anybody listens for that."""
        return self.results is not None and not (self.diarization and self.diarization.is_waiting)

    @property
    def decoded_seconds(self) -> float:
        """Seconds of audio that it decodes."""
        return self.pipeline.count_decoded_seconds(self.windows)


class RecognitionPipeline:
    """The audio of a session since its sample rate or its engine last changed.

    Args:
        config: The session's settings.
        model: The engine that decodes it.
        build_detector: Makes the voice-activity detector, or None: everything is taken for speech.
        base: Seconds on the session's clock where the stretch begins.
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
        """Use these settings for what is planned from here on, but for the sample rate and the windows."""
        words = config.vocabulary
        self.options = DecodeOptions(config.language, words.hotwords, words.prompt)
        self.has_word_times, self._replacements = config.word_timestamps, words.replacements

    def _build_strategy(self, needs: EngineRequirements) -> DecodingStrategy:
        speech = self._speech_detector.has_speech if self._speech_detector else None
        match needs.strategy:
            case "stateful":
                return StatefulStrategy(needs, self._rate, self._to_session_seconds, speech)
            case "local_agreement":
                self._speech_detector = self._speech_detector or SpeechDetector(
                    AlwaysSpeech(), self._rate, needs.max_window_seconds
                )
                return LocalAgreementStrategy(
                    self._speech_detector, needs.window_step_seconds, needs.min_confidence
                )
            case "overlap":
                return OverlapStrategy(
                    self._rate, self._to_session_seconds, speech, has_word_times=needs.has_word_times
                )

    def _to_session_seconds(self, position: int) -> float:
        """Return a position on the tape as seconds on the session's clock."""
        return round(self.clock.base + position / self._rate, TIME_DECIMALS)

    def locate_window(self, piece: WindowSpan) -> tuple[float, float]:
        """Return where a window's new audio begins and where the window ends, on the session's clock."""
        return self._to_session_seconds(piece.new_start), self._to_session_seconds(piece.end)

    def push_audio(self, samples: NDArray[np.float32]) -> int:
        """Take samples up to the end of the window that is due and return how many were taken."""
        taken = samples[: self.clock.next_end - self.clock.consumed]
        heard = self._resampler.push(taken)
        self._buffer.append(heard)
        if self._speech_detector:
            self._speech_detector.push(heard)
        if self._chunk_collector:
            self._chunk_collector.push_audio(taken, heard)
        self.clock.consumed += len(taken)
        return len(taken)

    def collect_chunks(self, *, enabled: bool) -> None:
        """Gather audio for ``take_chunk`` from here on, or no more."""
        if not enabled:
            self._chunk_collector = None
        elif self._chunk_collector is None:
            self._chunk_collector = ChunkCollector(self.clock.rate, self._rate, self._buffer.end)

    def take_chunk(self, *, is_last: bool) -> DiarizationChunk | None:
        """Return the audio gathered since the last call, and where there is speech in it."""
        if self._chunk_collector is None:
            return None
        audio, begin, end = self._chunk_collector.take_audio()
        spoken = self._speech_detector.find_speech(begin, end) if self._speech_detector else ((begin, end),)
        here = self._chunk_collector.to_chunk_samples
        speech = tuple((here(start, begin), min(here(stop, begin), len(audio))) for start, stop in spoken)
        return DiarizationChunk(audio, self._to_session_seconds(begin), speech, is_last=is_last)

    @property
    def holds_words(self) -> bool:
        """Whether words of the segments before may still be unsaid."""
        return self.strategy.holds_words or self._has_open_phrase

    def close_segment(self, *, flush: bool) -> PendingSegment:
        """End the segment here and return the windows that its words are in."""
        silent = not (self.clock.pending or self.strategy.holds_words)
        span = self.clock.close_segment()
        pieces = () if silent else self.strategy.plan_windows(self._segment_bounds(span, flush=flush))
        self._has_open_phrase = not flush and self._replacements.has_phrases
        plan = self._build_segment(span, pieces, flush=flush, glimpse=False)
        plan.is_silent = silent
        return plan

    def emit_words(self, plan: PendingSegment, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words that are new with a segment, as they are to be said."""
        words = [] if plan.is_silent else self.strategy.emit_words(answers, flush=plan.flush)
        end = self.clock.to_seconds(plan.span.end)
        return self._replacement_buffer.apply_to_words(words, plan.replacements, end, flush=plan.flush)

    def preview_words(self, plan: PendingSegment, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words heard beyond what was said, settled or not, as they would be said."""
        return self._replacement_buffer.preview_words(self.strategy.preview_words(answers), plan.replacements)

    def plan_partial(self) -> PendingSegment:
        """Return the windows for a partial at what is heard."""
        span = self.clock.current_span()
        return self._build_segment(
            span,
            self.strategy.plan_preview(self._segment_bounds(span, flush=False)),
            flush=False,
            glimpse=True,
        )

    def _segment_bounds(self, span: SegmentSpan, *, flush: bool) -> SegmentBounds:
        rate = self.clock.rate
        shared = self.clock.overlap_at(span.end)
        places = (span.context, span.start, span.end, shared)
        context, start, end, shared = (rescale(samples, rate, self._rate) for samples in places)
        return SegmentBounds(context, start, end, shared, is_flush=flush)

    def _build_segment(
        self, span: SegmentSpan, pieces: tuple[WindowSpan, ...], *, flush: bool, glimpse: bool
    ) -> PendingSegment:
        slots = tuple(self._build_window(piece) for piece in pieces)
        edge = self._resampler.preview_tail()
        return PendingSegment(
            span, self, slots, flush, glimpse, edge, self._buffer.end, self.has_word_times, self._replacements
        )

    def _build_window(self, piece: WindowSpan) -> PendingWindow:
        slot = PendingWindow(piece, start_seconds=self._to_session_seconds(piece.start))
        if known := self._cached_hypotheses.get((piece.start, piece.end)):
            slot.set_hypothesis(known)
            slot.is_cached = True
        return slot

    def cache_hypothesis(self, plan: PendingSegment, slot: PendingWindow, hypothesis: Hypothesis) -> None:
        """Keep a hypothesis for when its window is asked for again, if all its audio was on the tape."""
        if self.strategy.repeats_windows and slot.span.end <= plan.tail_position:
            self._cached_hypotheses[slot.span.start, slot.span.end] = hypothesis
            if len(self._cached_hypotheses) > _MAX_CACHED_HYPOTHESES:
                del self._cached_hypotheses[next(iter(self._cached_hypotheses))]

    def cut_window(self, plan: PendingSegment, slot: PendingWindow) -> Window:
        """Cut a planned window from the tape."""
        piece = slot.span
        start = max(piece.start, self._buffer.start)
        edge_from = min(max(start, plan.tail_position), piece.end)
        audio = self._buffer.read(start, edge_from) if start < plan.tail_position else np.empty(0, np.float32)
        if piece.end > edge_from:
            audio = np.concatenate(
                [audio, plan.tail[edge_from - plan.tail_position : piece.end - plan.tail_position]]
            )
        slot.start_seconds = self._to_session_seconds(start)
        return Window(
            audio,
            self._rate,
            slot.start_seconds,
            left_context=max(piece.new_start - start, 0),
            new_samples=piece.new_end - max(piece.new_start, start),
            right_context=piece.end - piece.new_end,
            is_last=piece.is_last,
            for_partial=plan.for_partial,
            state=self.strategy.state,
            options=self.options,
        )

    def count_decoded_seconds(self, slots: Iterable[PendingWindow]) -> float:
        """Return the seconds of audio in these windows."""
        samples = sum(slot.span.end - max(slot.span.start, 0) for slot in slots)
        return to_seconds(samples, self._rate)

    def discard_before_segments(self, plans: Iterable[PendingSegment]) -> None:
        """Drop audio that neither these plans nor a later one will ask for."""
        places = [slot.span.start for p in plans if p.pipeline is self for slot in p.windows]
        context = rescale(self.clock.current_span().context, self.clock.rate, self._rate)
        self._buffer.discard_before(min([*places, context, self.strategy.keep_from]))
        if self._speech_detector:
            self._speech_detector.discard_before(min(context, self.strategy.keep_from))

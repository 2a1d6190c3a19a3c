"""Decoding strategy for stateless engines that misrecognize cut-off words: windows grow from the last pause.

At the end of each segment, closed utterances are decoded whole. The open utterance is decoded twice, up to
now and up to a second ago, and the words on which both decodes agree are emitted (docs/decisions/0005). Some
engines take as long for a short window as for a long one; their windows grow by ``step_seconds``, for
finals and partials alike, and the decode of the step before replaces the second one (docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Sequence

from echoic.audio.vad import SpeechDetector
from echoic.interfaces.engine import Hypothesis
from echoic.session.decoding.strategy import (
    SegmentBounds,
    TimedWord,
    WindowResult,
    WindowSpan,
    find_last_end,
    group_words,
    order_words,
    spread_words,
)
from echoic.text.agreed_text import AgreedText, Words
from echoic.units import to_samples

#: Maximum number of concurrent decodes.
_MAX_AHEAD = 4
#: Seconds by which the second decode of the open utterance ends earlier.
_PROBE_SECONDS = 1.0
#: Minimum length in seconds of the second decode.
_MIN_PROBE_SECONDS = 0.5
#: Minimum length in seconds of a partial's window.
_MIN_PARTIAL_SECONDS = 0.3


class LocalAgreementStrategy:
    """Decodes utterances from their start; emits words once decodes agree, the rest at the end.

    Args:
        detector: Speech detector of the same audio.
        step_seconds: Seconds by which windows of an open utterance grow. If 0, they grow to the end of each
            segment.
        min_confidence: Confidence below which a word is emitted only when its utterance is closed.
    """

    state = None
    max_ahead = _MAX_AHEAD
    repeats_windows = True

    def __init__(
        self, detector: SpeechDetector, step_seconds: float = 0.0, min_confidence: float = 0.0
    ) -> None:
        self._detector = detector
        self._rate = detector.rate
        self._step = to_samples(step_seconds, detector.rate)
        self._min_confidence = min_confidence
        self._decoded_until = 0
        self._texts: dict[int, AgreedText] = {}
        self._flushed_until = 0
        self._emitted_until = 0.0
        self.holds_words = False

    @property
    def keep_from(self) -> int:
        """Start of the first utterance that is not planned to its end."""
        starts = [max(u.start, self._flushed_until) for u in self._detector.utterances[:1]]
        return min([*starts, self._detector.settled_until])

    def plan_windows(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return one window per closed utterance, and two (with steps: one) of the open one."""
        if bounds.is_flush:
            self._detector.close_utterance()
        spans: list[WindowSpan] = []
        for utterance in self._detector.utterances:
            start = max(utterance.start, self._flushed_until)
            if utterance.end is None:
                spans += self._plan_growing(start, bounds.end)
            elif start < (end := self._find_end(utterance.end, bounds)):
                spans.append(_build_span(start, end, closes=True))
        self._detector.discard_before(bounds.end if bounds.is_flush else self._last_closed_end())
        self._flushed_until = bounds.end if bounds.is_flush else self._flushed_until
        self.holds_words = not bounds.is_flush
        return tuple(spans)

    def plan_preview(self, bounds: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return one window per utterance."""
        starts = [(max(u.start, self._flushed_until), u.end) for u in self._detector.utterances]
        spans = [(start, end or self._round_to_step(start, bounds.end)) for start, end in starts]
        least = to_samples(_MIN_PARTIAL_SECONDS, self._rate)
        return tuple(_build_span(start, end) for start, end in spans if end - start >= least)

    def emit_words(self, results: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return the agreed words of the open utterance, and the remaining words of closed ones."""
        emitted: list[TimedWord] = []
        for index, result in enumerate(results):
            start = result.span.start
            if result.hypothesis is None:
                continue
            decoded = _hypothesis_words(result.hypothesis, result.start_seconds)
            words = _word_texts(decoded)
            text = self._texts.get(start) or AgreedText()
            first, new = text.find_position(words), 0
            if result.span.closes_utterance:
                new = len(self._close_utterance(result.span, words))
            elif index == 0 or results[index - 1].span.start != start:
                self._texts[start] = text
                probe = text.previous_words if self._step else _probe_words(results[index + 1 :], start)
                new = len(text.add_hypothesis(words, probe, self._find_unsure(decoded, first)))
            window_start, seconds = result.start_seconds, (result.span.end - result.span.start) / self._rate
            emitted += spread_words(decoded, window_start, window_start + seconds)[first : first + new]
        self._discard_texts(results, flush=flush)
        emitted = order_words(emitted, self._emitted_until)
        self._emitted_until = find_last_end(emitted, self._emitted_until)
        return emitted

    def preview_words(self, results: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words after the emitted ones, utterance by utterance."""
        new_words: list[str] = []
        texts = dict(self._texts)
        for result in results:
            if result.hypothesis is not None:
                words = _word_texts(_hypothesis_words(result.hypothesis, result.start_seconds))
                text = texts.get(result.span.start, AgreedText())
                new_words += text.words_beyond(words)
                texts[result.span.end] = AgreedText(text.find_words_after_split(words))
        return [TimedWord(word) for word in new_words]

    def _close_utterance(self, span: WindowSpan, words: Words) -> Words:
        """Return the remaining words of an utterance.

        Words emitted beyond its end become the start of the next one. That happens when a long utterance is
        split at a place that lies some seconds back.
        """
        text = self._texts.pop(span.start, AgreedText())
        rest = text.close_utterance(words)
        self._texts[span.end] = AgreedText(text.find_words_after_split(words))
        return rest

    def _discard_texts(self, results: Sequence[WindowResult], *, flush: bool) -> None:
        """Discard texts of utterances that no later result belongs to."""
        if flush:
            self._texts.clear()
        elif results:
            latest = results[-1].span.start
            self._texts = {start: text for start, text in self._texts.items() if start >= latest}

    def _plan_growing(self, start: int, end: int) -> list[WindowSpan]:
        if self._step:
            end, before = self._round_to_step(start, end), self._decoded_until
            self._decoded_until = max(before, end)
            return [_build_span(start, end)] if end > max(start, before) else []
        probe = end - to_samples(_PROBE_SECONDS, self._rate)
        if probe - start < to_samples(_MIN_PROBE_SECONDS, self._rate):
            return []
        return [_build_span(start, end), _build_span(start, probe)]

    def _find_unsure(self, words: Sequence[TimedWord], first: int) -> int:
        """Return the index, from ``first`` on, of the first word below the minimum confidence."""
        known = ((at, words[at].confidence) for at in range(first, len(words)))
        return next((at for at, one in known if one is not None and one < self._min_confidence), len(words))

    def _round_to_step(self, start: int, end: int) -> int:
        """Round the end of a window down to a whole step of the utterance."""
        return end - (end - start) % self._step if self._step else end

    def _find_end(self, end: int, bounds: SegmentBounds) -> int:
        """Return the end of a closed utterance: the end of the audio if the flush closed it."""
        return bounds.end if bounds.is_flush and end >= self._detector.consumed else min(end, bounds.end)

    def _last_closed_end(self) -> int:
        return max((u.end for u in self._detector.utterances if u.end is not None), default=0)


def _build_span(start: int, end: int, *, closes: bool = False) -> WindowSpan:
    return WindowSpan(start, start, end, end, is_last=closes, closes_utterance=closes, is_only_source=closes)


def _probe_words(results: Sequence[WindowResult], start: int) -> Words | None:
    """Return the words of the second decode if it follows, for the utterance at ``start``."""
    if results and results[0].span.start == start and results[0].hypothesis is not None:
        return _word_texts(_hypothesis_words(results[0].hypothesis, results[0].start_seconds))
    return None


def _hypothesis_words(hypothesis: Hypothesis, offset: float) -> list[TimedWord]:
    return group_words(hypothesis.committed + hypothesis.volatile, offset)


def _word_texts(words: Sequence[TimedWord]) -> Words:
    return tuple(word.text for word in words)

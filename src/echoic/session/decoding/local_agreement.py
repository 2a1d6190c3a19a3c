"""The reading of engines without state that a cut word poisons: windows grow from the last pause.

At each due point an utterance that is over is decoded whole, and the one that goes on is decoded up to
now and up to a second ago; the words on which the two agree are said. docs/decisions/0005. An engine whose
windows cost the same however short they are is asked at every ``step`` of the utterance only, by finals and
partials alike, and the decode of the due point before takes the place of the second. docs/decisions/0010.
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
from echoic.text.local_agreement import AgreedText, Words
from echoic.units import to_samples

#: Decodes of one stream that may run side by side.
_MAX_AHEAD = 4
#: Seconds between the present and the moment up to which the second decode goes.
_PROBE_SECONDS = 1.0
#: Seconds that the second decode must have to be worth it.
_MIN_PROBE_SECONDS = 0.5
#: Seconds that a partial must have to be worth it.
_MIN_PARTIAL_SECONDS = 0.3


class LocalAgreementStrategy:
    """Decodes utterances from their beginning; says what is settled, and the rest when they are over.

    Args:
        detector: Hears the same audio.
        step_seconds: Seconds between the ends of two windows of an utterance that goes on; 0: as they fall due.
        min_confidence: Confidence below which a word is not said before its utterance is over.
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
        """The start of the first utterance that is not yet planned to its end."""
        starts = [max(u.start, self._flushed_until) for u in self._detector.utterances[:1]]
        return min([*starts, self._detector.settled_until])

    def plan_windows(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return the windows of utterances that are over, and two (by steps: one) of the one that goes on."""
        if cut.is_flush:
            self._detector.close_utterance()
        pieces: list[WindowSpan] = []
        for utterance in self._detector.utterances:
            start = max(utterance.start, self._flushed_until)
            if utterance.end is None:
                pieces += self._plan_growing(start, cut.end)
            elif start < (end := self._find_end(utterance.end, cut)):
                pieces.append(_build_span(start, end, closes=True))
        self._detector.discard_before(cut.end if cut.is_flush else self._last_closed_end())
        self._flushed_until = cut.end if cut.is_flush else self._flushed_until
        self.holds_words = not cut.is_flush
        return tuple(pieces)

    def plan_preview(self, cut: SegmentBounds) -> tuple[WindowSpan, ...]:
        """Return one window an utterance."""
        starts = [(max(u.start, self._flushed_until), u.end) for u in self._detector.utterances]
        spans = [(start, end or self._round_to_step(start, cut.end)) for start, end in starts]
        least = to_samples(_MIN_PARTIAL_SECONDS, self._rate)
        return tuple(_build_span(start, end) for start, end in spans if end - start >= least)

    def emit_words(self, answers: Sequence[WindowResult], *, flush: bool) -> list[TimedWord]:
        """Return what is settled of the utterance that goes on, and the rest of those that are over."""
        said: list[TimedWord] = []
        for place, answer in enumerate(answers):
            start = answer.span.start
            if answer.hypothesis is None:
                continue
            spoken = _hypothesis_words(answer.hypothesis, answer.start_seconds)
            words = _word_texts(spoken)
            text = self._texts.get(start) or AgreedText()
            first, new = text.find_position(words), 0
            if answer.span.closes_utterance:
                new = len(self._close_utterance(answer.span, words))
            elif place == 0 or answers[place - 1].span.start != start:
                self._texts[start] = text
                probe = text.previous_words if self._step else _probe_words(answers[place + 1 :], start)
                new = len(text.add_hypothesis(words, probe, self._find_unsure(spoken, first)))
            begins, seconds = answer.start_seconds, (answer.span.end - answer.span.start) / self._rate
            said += spread_words(spoken, begins, begins + seconds)[first : first + new]
        self._discard_texts(answers, flush=flush)
        said = order_words(said, self._emitted_until)
        self._emitted_until = find_last_end(said, self._emitted_until)
        return said

    def preview_words(self, answers: Sequence[WindowResult]) -> list[TimedWord]:
        """Return the words beyond those said, utterance by utterance."""
        seen: list[str] = []
        texts = dict(self._texts)
        for answer in answers:
            if answer.hypothesis is not None:
                words = _word_texts(_hypothesis_words(answer.hypothesis, answer.start_seconds))
                text = texts.get(answer.span.start, AgreedText())
                seen += text.words_beyond(words)
                texts[answer.span.end] = AgreedText(text.find_surplus(words))
        return [TimedWord(word) for word in seen]

    def _close_utterance(self, piece: WindowSpan, words: Words) -> Words:
        """Say the rest of an utterance; what was said beyond its end begins the one that starts there.

        That happens where an utterance grew too long and was cut at a place that lies some seconds back.
        """
        text = self._texts.pop(piece.start, AgreedText())
        rest = text.close_utterance(words)
        self._texts[piece.end] = AgreedText(text.find_surplus(words))
        return rest

    def _discard_texts(self, answers: Sequence[WindowResult], *, flush: bool) -> None:
        """Drop the texts that no later answer can belong to."""
        if flush:
            self._texts.clear()
        elif answers:
            latest = answers[-1].span.start
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

    def _find_unsure(self, spoken: Sequence[TimedWord], first: int) -> int:
        """Return where the first word stands, from ``first`` on, that is not sure enough to be said yet."""
        known = ((at, spoken[at].confidence) for at in range(first, len(spoken)))
        return next((at for at, one in known if one is not None and one < self._min_confidence), len(spoken))

    def _round_to_step(self, start: int, end: int) -> int:
        """Return the last whole step of the utterance that is heard."""
        return end - (end - start) % self._step if self._step else end

    def _find_end(self, end: int, cut: SegmentBounds) -> int:
        """Return the end of a closed utterance: all that is heard, if the flush closed it there."""
        return cut.end if cut.is_flush and end >= self._detector.consumed else min(end, cut.end)

    def _last_closed_end(self) -> int:
        return max((u.end for u in self._detector.utterances if u.end is not None), default=0)


def _build_span(start: int, end: int, *, closes: bool = False) -> WindowSpan:
    return WindowSpan(start, start, end, end, is_last=closes, closes_utterance=closes, is_vital=closes)


def _probe_words(answers: Sequence[WindowResult], start: int) -> Words | None:
    """Return the words of the second decode of the same utterance, which follows the first."""
    if answers and answers[0].span.start == start and answers[0].hypothesis is not None:
        return _word_texts(_hypothesis_words(answers[0].hypothesis, answers[0].start_seconds))
    return None


def _hypothesis_words(hypothesis: Hypothesis, begins: float) -> list[TimedWord]:
    return group_words(hypothesis.committed + hypothesis.volatile, begins)


def _word_texts(spoken: Sequence[TimedWord]) -> Words:
    return tuple(one.text for one in spoken)

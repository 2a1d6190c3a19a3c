"""Tests of the local agreement strategy, with a detector that reports speech everywhere."""

from __future__ import annotations

from echoic.audio.vad import AlwaysSpeech, SpeechDetector
from echoic.interfaces.engine import Hypothesis, Token, build_text_hypothesis
from echoic.session.decoding.local_agreement import LocalAgreementStrategy
from echoic.session.decoding.strategy import SegmentBounds, WindowResult, WindowSpan
from support.session_driver import build_silence

RATE = 16_000


class Utterance:
    """One open utterance that grows by seconds."""

    def __init__(self, *, step: float = 0.0, min_confidence: float = 0.0) -> None:
        self.detector = SpeechDetector(AlwaysSpeech(), RATE, 20.0)
        self.strategy = LocalAgreementStrategy(self.detector, step, min_confidence)
        self.end = 0

    def grow(self, seconds: float, *, flush: bool = False) -> tuple[WindowSpan, ...]:
        """Push audio and plan the windows of a segment that ends there."""
        start = self.end
        self.detector.push(build_silence(seconds))
        self.end += round(seconds * RATE)
        return self.strategy.plan_windows(SegmentBounds(start, start, self.end, 0, is_flush=flush))

    def emit(self, spans: tuple[WindowSpan, ...], *texts: str, flush: bool = False) -> list[str]:
        """Emit the words of windows that were decoded as these texts."""
        results = [
            WindowResult(span, span.start / RATE, build_text_hypothesis(text))
            for span, text in zip(spans, texts, strict=True)
        ]
        return [word.text for word in self.strategy.emit_words(results, flush=flush)]


def test_an_open_utterance_is_decoded_twice_from_its_start() -> None:
    utterance = Utterance()
    spans = utterance.grow(2.0)
    assert [(span.start, span.end) for span in spans] == [(0, 32_000), (0, 16_000)]
    assert not any(span.is_only_source for span in spans)
    spans = utterance.grow(1.5)
    assert [(span.start, span.end) for span in spans] == [(0, 56_000), (0, 40_000)]


def test_words_are_emitted_once_both_decodes_agree() -> None:
    utterance = Utterance()
    assert utterance.emit(utterance.grow(2.0), "one two thr", "one two") == ["one", "two"]
    assert utterance.emit(utterance.grow(1.5), "one two three four", "one two three") == ["three"]


def test_a_flush_closes_the_utterance_and_emits_the_rest() -> None:
    utterance = Utterance()
    utterance.emit(utterance.grow(2.0), "one two", "one")
    (window,) = spans = utterance.grow(0.5, flush=True)
    assert (window.closes_utterance, window.is_last, window.is_only_source) == (True, True, True)
    assert utterance.emit(spans, "one two three", flush=True) == ["two", "three"]
    assert not utterance.strategy.holds_words


def test_with_steps_the_window_before_replaces_the_second_decode() -> None:
    utterance = Utterance(step=2.0)
    (first,) = spans = utterance.grow(3.0)
    assert first.end == 32_000
    assert utterance.emit(spans, "one two") == []
    assert utterance.grow(0.5) == ()
    (second,) = spans = utterance.grow(1.0)
    assert second.end == 64_000
    assert utterance.emit(spans, "one two three") == ["one", "two"]


def test_a_word_below_the_minimum_confidence_waits_for_the_end() -> None:
    utterance = Utterance(min_confidence=0.5)
    spans = utterance.grow(2.0)
    sure, unsure = Token(" one", confidence=0.9), Token(" two", confidence=0.1)
    results = [WindowResult(span, 0.0, Hypothesis(volatile=(sure, unsure))) for span in spans]
    assert [word.text for word in utterance.strategy.emit_words(results, flush=False)] == ["one"]


def test_a_preview_shows_words_after_the_emitted_ones() -> None:
    utterance = Utterance()
    utterance.emit(utterance.grow(2.0), "one two", "one")
    bounds = SegmentBounds(utterance.end, utterance.end, utterance.end, 0, is_flush=False)
    (span,) = utterance.strategy.plan_preview(bounds)
    result = WindowResult(span, 0.0, build_text_hypothesis("one two three"))
    assert [word.text for word in utterance.strategy.preview_words([result])] == ["two", "three"]


def test_audio_is_kept_from_the_start_of_the_utterance() -> None:
    utterance = Utterance()
    utterance.grow(2.0)
    assert utterance.strategy.keep_from == 0
    utterance.grow(1.0, flush=True)
    assert utterance.strategy.keep_from > 0

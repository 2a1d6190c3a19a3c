"""Tests of the overlap strategy at 100 samples per second."""

from __future__ import annotations

from collections.abc import Callable

from echoic.interfaces.engine import Hypothesis, Token, build_text_hypothesis
from echoic.session.decoding.overlap import OverlapStrategy
from echoic.session.decoding.strategy import SegmentBounds, WindowResult, WindowSpan

RATE = 100


def build_strategy(
    *, has_word_times: bool, has_speech: Callable[[int, int], bool] | None = None
) -> OverlapStrategy:
    return OverlapStrategy(RATE, lambda position: position / RATE, has_speech, has_word_times=has_word_times)


def build_bounds(start: int, end: int, *, overlap: int = 50, flush: bool = False) -> SegmentBounds:
    return SegmentBounds(max(0, start - overlap), start, end, overlap, is_flush=flush)


def build_timed(span: WindowSpan, *words: tuple[str, float, float]) -> WindowResult:
    offset = span.start / RATE
    tokens = tuple(Token(" " + text, start - offset, end - start) for text, start, end in words)
    return WindowResult(span, offset, Hypothesis(volatile=tokens))


def build_text(span: WindowSpan, text: str) -> WindowResult:
    return WindowResult(span, span.start / RATE, build_text_hypothesis(text))


def test_repeated_words_of_the_overlap_are_removed() -> None:
    strategy = build_strategy(has_word_times=False)
    (first,) = strategy.plan_windows(build_bounds(0, 200))
    (second,) = strategy.plan_windows(build_bounds(200, 350))
    assert (second.start, second.new_start, second.end) == (150, 200, 350)
    words = strategy.emit_words([build_text(first, "one two")], flush=False)
    words += strategy.emit_words([build_text(second, "two three")], flush=False)
    assert [word.text for word in words] == ["one", "two", "three"]


def test_windows_with_times_divide_their_overlap_in_half() -> None:
    strategy = build_strategy(has_word_times=True)
    (first,) = strategy.plan_windows(build_bounds(0, 200))
    assert (first.new_end, strategy.holds_words) == (175, True)
    (second,) = strategy.plan_windows(build_bounds(200, 350))
    assert second.new_start == 175
    words = strategy.emit_words([build_timed(first, ("one", 0.5, 0.9), ("tw", 1.8, 2.0))], flush=False)
    words += strategy.emit_words([build_timed(second, ("two", 1.8, 2.2))], flush=False)
    assert [word.text for word in words] == ["one", "two"]


def test_a_word_that_overlaps_the_last_one_is_the_same_word() -> None:
    strategy = build_strategy(has_word_times=True)
    (first,) = strategy.plan_windows(build_bounds(0, 200))
    (second,) = strategy.plan_windows(build_bounds(200, 350))
    strategy.emit_words([build_timed(first, ("one", 1.6, 2.0))], flush=False)
    words = strategy.emit_words([build_timed(second, ("one", 1.7, 2.0), ("two", 2.2, 2.5))], flush=False)
    assert [word.text for word in words] == ["two"]


def test_a_flush_leaves_no_share_to_the_next_window() -> None:
    strategy = build_strategy(has_word_times=True)
    (window,) = strategy.plan_windows(build_bounds(0, 200, flush=True))
    assert (window.new_end, window.is_last, strategy.holds_words) == (200, True, False)


def test_windows_without_speech_are_not_planned() -> None:
    strategy = build_strategy(has_word_times=False, has_speech=lambda *_: False)
    assert strategy.plan_windows(build_bounds(0, 200)) == ()
    assert strategy.plan_preview(build_bounds(200, 250)) == ()


def test_a_preview_emits_nothing() -> None:
    strategy = build_strategy(has_word_times=False)
    (window,) = strategy.plan_preview(build_bounds(0, 100))
    for _ in range(2):
        assert [word.text for word in strategy.preview_words([build_text(window, "one")])] == ["one"]

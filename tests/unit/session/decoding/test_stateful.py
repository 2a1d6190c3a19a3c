"""Tests of the stateful strategy at 100 samples per second."""

from __future__ import annotations

from collections.abc import Callable

from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token
from echoic.session.decoding.stateful import StatefulStrategy
from echoic.session.decoding.strategy import SegmentBounds, WindowResult, WindowSpan

RATE = 100


def build_strategy(
    left: float = 0.0, right: float = 0.0, has_speech: Callable[[int, int], bool] | None = None
) -> StatefulStrategy:
    requirements = EngineRequirements("stateful", left_context=left, right_context=right)
    return StatefulStrategy(requirements, RATE, lambda position: position / RATE, has_speech)


def build_bounds(start: int, end: int, *, flush: bool = False) -> SegmentBounds:
    return SegmentBounds(start, start, end, 0, is_flush=flush)


def build_result(span: WindowSpan, *tokens: Token, state: object = None) -> WindowResult:
    return WindowResult(span, span.start / RATE, Hypothesis(committed=tokens, state=state))


def test_every_sample_is_new_once_with_context_on_both_sides() -> None:
    strategy = build_strategy(left=0.5, right=0.2)
    (first,) = strategy.plan_windows(build_bounds(0, 200))
    (second,) = strategy.plan_windows(build_bounds(200, 300, flush=True))
    assert (first.start, first.new_start, first.new_end, first.end) == (-50, 0, 180, 200)
    assert (second.start, second.new_start, second.new_end, second.end) == (130, 180, 300, 300)
    assert second.is_last


def test_a_preview_changes_nothing_and_has_little_left_context() -> None:
    strategy = build_strategy(left=5.0)
    strategy.plan_windows(build_bounds(0, 200))
    (preview,) = strategy.plan_preview(build_bounds(200, 250))
    assert (preview.start, preview.new_start, preview.end) == (100, 200, 250)
    assert strategy.plan_preview(build_bounds(200, 250)) == (preview,)
    assert strategy.keep_from == 200 - 500


def test_silence_is_skipped_except_the_onset() -> None:
    strategy = build_strategy(has_speech=lambda _, end: end > 250)
    assert strategy.plan_windows(build_bounds(0, 200)) == ()
    (window,) = strategy.plan_windows(build_bounds(200, 300))
    assert window.new_start == 170


def test_a_word_at_the_edge_is_held_until_it_is_complete() -> None:
    strategy = build_strategy()
    (first,) = strategy.plan_windows(build_bounds(0, 100))
    words = strategy.emit_words(
        [build_result(first, Token(" one", 0.1, 0.2), Token(" tw", 0.9, 0.1), state="after")], flush=False
    )
    assert [word.text for word in words] == ["one"]
    assert strategy.state == "after"
    (second,) = strategy.plan_windows(build_bounds(100, 200))
    words = strategy.emit_words([build_result(second, Token("o", 0.0, 0.1))], flush=False)
    assert [word.text for word in words] == ["two"]


def test_a_flush_emits_held_words() -> None:
    strategy = build_strategy()
    (window,) = strategy.plan_windows(build_bounds(0, 100, flush=True))
    words = strategy.emit_words([build_result(window, Token(" tw", 0.9, 0.1))], flush=True)
    assert [word.text for word in words] == ["tw"]
    assert not strategy.holds_words


def test_a_word_repeated_after_a_flush_is_dropped() -> None:
    strategy = build_strategy()
    (first,) = strategy.plan_windows(build_bounds(0, 100, flush=True))
    strategy.emit_words([build_result(first, Token(" two", 0.9, 0.1))], flush=True)
    (second,) = strategy.plan_windows(build_bounds(100, 200, flush=True))
    words = strategy.emit_words(
        [build_result(second, Token(" Two,", 0.05, 0.1), Token(" three", 0.4, 0.2))], flush=True
    )
    assert [word.text for word in words] == ["three"]


def test_a_failed_window_keeps_the_state() -> None:
    strategy = build_strategy()
    (first,) = strategy.plan_windows(build_bounds(0, 100))
    strategy.emit_words([build_result(first, state="before")], flush=False)
    (second,) = strategy.plan_windows(build_bounds(100, 200))
    assert strategy.emit_words([WindowResult(second, 1.0, None)], flush=False) == []
    assert strategy.state == "before"

"""Tests of the functions that decoding strategies share."""

from __future__ import annotations

from echoic.interfaces.engine import Token
from echoic.session.decoding.strategy import (
    TimedWord,
    find_last_end,
    group_words,
    order_words,
    spread_words,
)


def test_tokens_are_grouped_at_leading_spaces() -> None:
    tokens = [Token("hel", 0.1, 0.1, 0.9), Token("lo", 0.2, 0.1, 0.7), Token(" you", 0.5, 0.2)]
    assert group_words(tokens, 10.0) == [
        TimedWord("hello", 10.1, 10.2 + 0.1, 0.7),
        TimedWord("you", 10.5, 10.5 + 0.2),
    ]


def test_tokens_without_text_form_no_word() -> None:
    assert group_words([Token(" "), Token(" one")], 0.0) == [TimedWord("one")]


def test_tokens_without_times_form_words_without_times() -> None:
    (word,) = group_words([Token(" one")], 5.0)
    assert (word.start, word.end, word.span, word.middle) == (None, None, None, None)


def test_ordered_words_do_not_overlap() -> None:
    words = [TimedWord("a", 0.0, 1.5), TimedWord("b", 1.0, 2.0), TimedWord("c")]
    assert order_words(words, 0.5) == [TimedWord("a", 0.5, 1.0), TimedWord("b", 1.0, 2.0), TimedWord("c")]


def test_a_word_before_the_limit_becomes_empty_in_time() -> None:
    assert order_words([TimedWord("a", 0.0, 0.2)], 1.0) == [TimedWord("a", 1.0, 1.0)]


def test_the_last_end_skips_words_without_times() -> None:
    assert find_last_end([TimedWord("a", 0.0, 1.0), TimedWord("b")], 0.0) == 1.0
    assert find_last_end([TimedWord("b")], 3.0) == 3.0


def test_words_are_spread_by_their_letters() -> None:
    spread = spread_words([TimedWord("a"), TimedWord("bcd"), TimedWord("e", 7.0, 8.0)], 10.0, 18.0)
    assert [word.rough_span for word in spread] == [(10.0, 12.0), (12.0, 16.0), (16.0, 18.0)]
    assert [word.middle for word in spread] == [11.0, 14.0, 7.5]
    assert spread_words([], 0.0, 1.0) == []

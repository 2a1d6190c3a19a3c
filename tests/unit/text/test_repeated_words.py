from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.text.repeated_words import FASTEST_WORDS_PER_SECOND, count_repeated_words, fold_word

WORDS = st.lists(st.sampled_from(["a", "b", "A.", "b,", "C++", "…"]), max_size=12)
OVERLAPS = st.floats(0, 10)


@pytest.mark.parametrize(
    ("emitted", "decoded", "count"),
    [
        ("one two three", "two three four", 2),
        ("one two three", "Two, THREE! four", 2),
        ("one two three", "four five", 0),
        ("one two three", "one two three four", 3),
        ("one", "one two", 1),
        ("", "one two", 0),
        ("one two", "", 0),
        ("straße", "STRASSE weiter", 1),
        ("one two", "wo three", 0),
    ],
)
def test_words_that_repeat_the_end_are_counted(emitted: str, decoded: str, count: int) -> None:
    assert count_repeated_words(emitted.split(), decoded.split(), 1.0) == count


def test_the_longest_repetition_wins() -> None:
    assert count_repeated_words(["ha", "ha", "ha"], ["ha", "ha", "no"], 1.0) == 2


def test_at_least_one_word_of_a_window_is_kept() -> None:
    assert count_repeated_words(["foo"], ["foo"], 0.5) == 0
    assert count_repeated_words(["a", "b"], ["a", "b"], 1.0) == 0


def test_without_an_overlap_nothing_is_repeated() -> None:
    assert count_repeated_words(["a", "b"], ["b", "c"], 0.0) == 0


@given(WORDS, WORDS, OVERLAPS)
def test_no_more_words_are_removed_than_fit_the_overlap(
    emitted: list[str], decoded: list[str], overlap: float
) -> None:
    count = count_repeated_words(emitted, decoded, overlap)
    assert 0 <= count <= math.ceil(overlap * FASTEST_WORDS_PER_SECOND)
    assert count < max(len(decoded), 1)
    assert count <= len(emitted)


@given(WORDS, WORDS, OVERLAPS)
def test_removed_words_are_the_last_emitted_ones(
    emitted: list[str], decoded: list[str], overlap: float
) -> None:
    count = count_repeated_words(emitted, decoded, overlap)
    tail = emitted[len(emitted) - count :]
    assert [fold_word(word) for word in tail] == [fold_word(word) for word in decoded[:count]]


@given(WORDS, st.integers(0, 3), WORDS.filter(bool))
def test_a_window_that_repeats_few_words_and_goes_on_loses_none(
    emitted: list[str], again: int, new: list[str]
) -> None:
    tail = emitted[len(emitted) - again :] if again <= len(emitted) else []
    assert count_repeated_words(emitted, [*tail, *new], 1.0) >= len(tail)


@pytest.mark.parametrize(
    ("word", "folded"),
    [("Hello,", "hello"), ("“Ja!”", "ja"), ("C++", "c++"), ("Straße", "strasse"), ("…", "…"), ("3.5", "35")],
)
def test_spellings_of_a_heard_word_share_their_folding(word: str, folded: str) -> None:
    assert fold_word(word) == folded


@given(st.text(min_size=1))
def test_a_word_never_folds_to_nothing(word: str) -> None:
    assert fold_word(word)

"""Tests of replacements in timed words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.session.decoding.strategy import TimedWord
from echoic.session.word_replacement import replace_words
from echoic.text.replacements import Replacements, ReplacementTable

NEW_YORK = [
    TimedWord("in", 0.0, 0.2, 0.9),
    TimedWord("new", 0.3, 0.5, 0.8),
    TimedWord("york.", 0.5, 1.0, 0.6),
]


def build_table(table: dict[str, str]) -> Replacements:
    return Replacements(ReplacementTable(table))


def test_the_same_number_of_words_keeps_its_times() -> None:
    assert replace_words(NEW_YORK, build_table({"new york": "New York"})) == [
        NEW_YORK[0],
        TimedWord("New", 0.3, 0.5, 0.8),
        TimedWord("York.", 0.5, 1.0, 0.6),
    ]


def test_fewer_words_take_the_whole_time_and_lowest_confidence() -> None:
    assert replace_words(NEW_YORK, build_table({"new york": "NYC"})) == [
        NEW_YORK[0],
        TimedWord("NYC.", 0.3, 1.0, 0.6),
    ]


def test_more_words_share_the_time_by_letters() -> None:
    replaced = replace_words([TimedWord("nyc", 1.0, 2.0, 0.5)], build_table({"nyc": "a bcd"}))
    assert replaced == [TimedWord("a", 1.0, 1.25, 0.5), TimedWord("bcd", 1.25, 2.0, 0.5)]


def test_words_without_times_stay_without_times() -> None:
    replaced = replace_words(
        [TimedWord("new"), TimedWord("york", 1.0, 2.0)], build_table({"new york": "NYC", "york": "x"})
    )
    assert replaced == [TimedWord("NYC")]


def test_without_replacements_words_are_unchanged() -> None:
    assert replace_words(NEW_YORK, Replacements()) == NEW_YORK


timed = st.lists(
    st.tuples(st.sampled_from(["a", "b,", "(c", "A-b", "dd"]), st.floats(0, 1), st.floats(0, 1)), max_size=10
)
tables = st.dictionaries(
    st.sampled_from(["a", "b", "c", "a b", "b, (c", "dd a", "A-b"]),
    st.sampled_from(["x", "x y", "x y z", "w!"]),
    max_size=5,
)


@given(timed, tables)
def test_times_stay_in_order_and_the_text_is_replaced(
    drawn: list[tuple[str, float, float]], table: dict[str, str]
) -> None:
    words: list[TimedWord] = []
    now = 0.0
    for text, gap, length in drawn:
        words.append(TimedWord(text, now + gap, now + gap + length, 0.5))
        now += gap + length
    replaced = replace_words(words, build_table(table))
    assert " ".join(one.text for one in replaced) == build_table(table).replace_text(
        " ".join(one.text for one in words)
    )
    edges = [edge for one in replaced for edge in (one.start or 0.0, one.end or 0.0)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(edges))
    if words:
        assert edges[0] == words[0].start
        assert edges[-1] == pytest.approx(words[-1].end)

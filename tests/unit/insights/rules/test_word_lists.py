from __future__ import annotations

import pytest

from echoic.insights.rules.word_lists import read_word_set


@pytest.mark.parametrize(
    "name",
    [
        "topic_words",
        "spoken_stop_words",
        "abbreviations",
        "clause_starters",
        "subject_starters",
        "conditional_starters",
        "starter_followers",
        "clause_continuers",
    ],
)
def test_every_list_has_words_in_lower_case(name: str) -> None:
    words = read_word_set(name)
    assert words
    assert all(word == word.lower() for word in words)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.evaluate.normalize import NORMALIZERS, normalize_english, normalize_text, split_whitespace


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Mr. Hale won't come", "mister hale will not come"),
        ("In 1,250 days, 21st of May", "in one thousand two hundred fifty days twenty first of may"),
        ("20th 3rd 12th 100", "twentieth third twelfth one hundred"),
        ("007 & 5%", "zero zero seven and five percent"),
        ("They're sure I'm right, it's cat's", "they are sure i am right it's cat's"),
        ("2.000.000", "two zero zero zero zero zero zero"),
        ("123456789012", "one two three four five six seven eight nine zero one two"),
        ("1000001", "one million one"),
    ],
)
def test_english_numbers_and_contractions_are_spelled_out(written: str, spoken: str) -> None:
    assert normalize_english(written) == spoken.split()


def test_splitting_keeps_case_and_punctuation() -> None:
    assert split_whitespace(" Hello,  World. ") == ["Hello,", "World."]


def test_letters_of_every_script_are_words() -> None:
    assert normalize_text("Größe, ЁЛКА! 你好。") == ["größe", "ёлка", "你好"]


@given(st.text(max_size=60))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    for normaliser in NORMALIZERS.values():
        words = normaliser(text)
        assert all(word and not word.isspace() for word in words)
        assert normaliser(" ".join(words)) == words


def test_normalizing_lowers_case_and_removes_punctuation() -> None:
    assert normalize_text("\u201cDon\u2019t,\u201d said Mr. Hale \u2014 twenty-five!") == [
        "don't",
        "said",
        "mr",
        "hale",
        "twenty",
        "five",
    ]

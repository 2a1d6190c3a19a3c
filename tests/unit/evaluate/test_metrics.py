from __future__ import annotations

import math

import pytest

from echoic.evaluate.metrics import (
    EditCounts,
    SeamErrors,
    align_words,
    count_seam_errors,
    count_word_errors,
    percentile,
)
from echoic.evaluate.normalize import normalize_text


def test_normalising_lowers_case_and_takes_punctuation_off() -> None:
    assert normalize_text("\u201cDon\u2019t,\u201d said Mr. Hale \u2014 twenty-five!") == [
        "don't",
        "said",
        "mr",
        "hale",
        "twenty",
        "five",
    ]


def test_both_texts_are_normalized_before_comparison() -> None:
    assert count_word_errors("it's HERE, now", "It\u2019s here now.") == EditCounts(reference_length=3)


def test_the_error_rate_is_edits_per_reference_word() -> None:
    found = count_word_errors("one two three four", "one too three four five")
    assert found == EditCounts(substitutions=1, insertions=1, reference_length=4)
    assert found.rate == 50.0


def test_words_without_a_reference_are_insertions() -> None:
    assert count_word_errors("...", "hello there") == EditCounts(insertions=2)


def test_edit_counts_add_up_over_recordings() -> None:
    assert count_word_errors("a b", "a") + count_word_errors("c d", "c d e") == EditCounts(
        deletions=1, insertions=1, reference_length=4
    )


def test_words_are_aligned_by_position() -> None:
    assert align_words(["a", "b", "c", "d"], ["a", "x", "d"])[::3] == [0, 2]
    assert align_words(["a"], []) == [None]


def test_a_word_on_both_sides_of_a_boundary_is_doubled() -> None:
    assert count_seam_errors("the cat sat on the mat", ["the cat sat", "sat on the mat"]) == SeamErrors(
        1, 1, 0, 0
    )


def test_a_word_missing_at_a_boundary_is_lost() -> None:
    assert count_seam_errors("the cat sat on the mat", ["the cat", "on the mat"]) == SeamErrors(1, 0, 0, 1)


def test_an_error_far_from_every_boundary_is_not_a_seam() -> None:
    whole = "a b c d e f g h i j k l m n"
    assert count_seam_errors(whole, ["a b c d e f g h i j k", "l m n"]) == SeamErrors(1, 0, 0, 0)
    assert count_seam_errors(whole, ["a c d e f g h i j k", "l m n"]) == SeamErrors(1, 0, 0, 0)


def test_a_perfect_join_has_no_errors() -> None:
    assert count_seam_errors("a b c d", ["a b", "c", "d"]) == SeamErrors(2, 0, 0, 0)


@pytest.mark.parametrize(("percent", "expected"), [(50, 2.0), (95, 4.0), (99, 4.0), (1, 1.0)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == expected


def test_a_percentile_of_no_values_is_nan() -> None:
    assert math.isnan(percentile([], 50))

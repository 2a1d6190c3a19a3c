from __future__ import annotations

import math
from pathlib import Path

import pytest

from echoic.evaluate.manifest import ManifestEntry
from echoic.evaluate.metrics import (
    DeliveredWord,
    EditCounts,
    ReferenceUtterance,
    SeamErrors,
    TermErrors,
    align_words,
    collect_delivered_words,
    count_character_errors,
    count_seam_errors,
    count_term_errors,
    count_word_errors,
    measure_latencies,
    percentile,
    score_recording,
    to_json,
)
from echoic.evaluate.normalize import normalize_text


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


def test_latency_ends_with_the_final_of_the_last_word() -> None:
    utterances = [ReferenceUtterance(0.0, 1.0, "one two"), ReferenceUtterance(2.5, 3.0, "three")]
    words = collect_delivered_words([("one", 2.0), ("two", 3.5), ("three", 5.0)])
    assert words[1] == DeliveredWord("two", 3.5)
    assert measure_latencies(utterances, words) == [2.5, 2.0]


def test_an_utterance_without_aligned_words_has_no_latency() -> None:
    utterances = [ReferenceUtterance(0.0, 1.0, "one"), ReferenceUtterance(2.0, 3.0, "two")]
    assert measure_latencies(utterances, collect_delivered_words([("two", 4.0)])) == [1.0]


def test_character_errors_count_letters_and_spaces() -> None:
    assert count_character_errors("ab c", "abc") == EditCounts(deletions=1, reference_length=4)


def test_a_term_is_missed_where_one_of_its_words_is() -> None:
    found = count_term_errors(
        "from Eau Claire to Anon", "from O Claire to anon", ["eau claire", "Anon", "other"]
    )
    assert found == TermErrors(2, 1)
    assert found.rate == 50.0


def test_scores_add_up_and_keep_unknown_figures_apart() -> None:
    known = ManifestEntry(1, Path("a.wav"), "one two")
    unknown = ManifestEntry(2, Path("b.wav"))
    total = score_recording(known, ["one", "too"], normalize_text, 2.0, 1.0) + score_recording(
        unknown, ["three"], normalize_text, 2.0, 1.0
    )
    assert (total.recording_count, total.audio_seconds, total.realtime_factor) == (2, 4.0, 0.5)
    figures = to_json(total)
    assert (figures["wer"], figures["reference_words"]) == (50.0, 2)
    assert (figures["seams"], figures["der"], figures["latency"]) == (None, None, None)

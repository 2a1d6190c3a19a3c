"""Tests of subtitle cues."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.export.cues import MAX_CUE_SECONDS, MAX_LINE_LENGTH, MAX_LINES, MIN_CUE_MS, build_cues
from echoic.export.formats import render, render_srt, render_vtt
from echoic.export.turns import LONG_TURN_CHARACTERS, join_transcript
from echoic.protocol.frames import Final, Word
from support.finals import any_finals, build_final, build_late_finals


def test_a_sentence_of_several_finals_is_one_cue() -> None:
    found = build_cues(
        [build_final("We went", 0, 2), build_final("home.", 2, 3.5), build_final("Then we", 3.5, 5)]
    )
    assert [cue.lines for cue in found] == [("We went home.",), ("Then we",)]
    assert (found[0].start, found[0].end) == (0, 3500)


def test_a_pause_ends_a_cue() -> None:
    assert len(build_cues([build_final("one man", 0, 1), build_final("two men", 2.5, 4)])) == 2
    assert len(build_cues([build_final("one man", 0, 1), build_final("two men", 1.5, 3)])) == 1


def test_times_of_words_are_the_times_of_the_cue() -> None:
    words = (Word("Hello", 0.4, 0.7), Word("there.", 0.8, 1.4))
    (cue,) = build_cues([build_final("Hello there.", 0, 2, words=words)])
    assert (cue.start, cue.end) == (400, 1400)


def test_words_without_times_use_the_spoken_times() -> None:
    (cue,) = build_cues([build_final("Hello there.", 6, 6, spoken=(3.2, 4.6))])
    assert (cue.start, cue.end) == (3200, 4600)


def test_long_text_shares_its_time_by_length() -> None:
    text = " ".join(["word"] * 40)
    found = build_cues([build_final(text, 0, 12)])
    assert " ".join(line for cue in found for line in cue.lines) == text
    lengths = [sum(len(line) for line in cue.lines) / (cue.end - cue.start) for cue in found]
    assert max(lengths) < 1.2 * min(lengths)


def test_text_without_spaces_is_split_into_lines() -> None:
    text = "東京" * 60
    found = build_cues([build_final(text, 0, 6)])
    assert "".join(line for cue in found for line in cue.lines) == text
    assert len(found) > 1


@given(any_finals)
def test_cues_fit_and_do_not_overlap(finals: list[Final]) -> None:
    at = 0
    for cue in build_cues(finals):
        assert at <= cue.start < cue.end
        at = cue.end
        assert 1 <= len(cue.lines) <= MAX_LINES
        assert all(0 < len(line) <= MAX_LINE_LENGTH for line in cue.lines)
    assert render_vtt(finals).count("-->") == render_srt(finals).count("-->") == len(build_cues(finals))


@given(st.lists(st.text("ab .", max_size=200), max_size=6))
def test_no_word_is_lost_or_doubled(texts: list[str]) -> None:
    finals = [build_final(text, float(2 * i), float(2 * i + 2)) for i, text in enumerate(texts)]
    shown = "".join(line for cue in build_cues(finals) for line in cue.lines)
    assert re.sub(r"\s", "", shown) == re.sub(r"\s", "", join_transcript(finals))


@given(st.integers(1, 200), st.floats(0.5, 20))
def test_no_cue_is_shown_too_long(words: int, seconds: float) -> None:
    finals = [build_final("word", i * seconds, (i + 1) * seconds) for i in range(words)]
    assert all(cue.end - cue.start <= 1000 * max(MAX_CUE_SECONDS, seconds) + 1 for cue in build_cues(finals))


def test_a_name_begins_the_first_cue_of_a_turn() -> None:
    said = [
        build_final("word " * 60, 0, 20, speaker="SPEAKER_00"),
        build_final("More.", 23, 25, speaker="SPEAKER_00"),
    ]
    found = build_cues(said, with_names=True)
    assert len(found) > 3
    assert [cue.lines[0].startswith("SPEAKER_00: ") for cue in found] == [
        True, *[False] * (len(found) - 2), True
    ]  # fmt: skip
    assert max(len(line) for cue in found[1:] for line in cue.lines) > 42 - len("word ")
    assert all(len(cue.lines) <= MAX_LINES for cue in found)
    assert all(len(line) <= MAX_LINE_LENGTH for cue in found for line in cue.lines)
    assert render_vtt(said).count("<v SPEAKER_00>") == len(found)


@pytest.mark.parametrize(
    ("finals", "names"),
    [
        (build_late_finals(0, None, None, 0), ["SPEAKER_00"]),
        (build_late_finals(0, None, 0, pause=3), ["SPEAKER_00", None, "SPEAKER_00"]),
        (build_late_finals(None, 0, None), [None, "SPEAKER_00", None]),
        (build_late_finals(None, None), [None]),
        (build_late_finals(0, *[None] * (LONG_TURN_CHARACTERS // 10), 0), ["SPEAKER_00", None, "SPEAKER_00"]),
    ],
)
def test_words_without_a_speaker_join_the_same_speaker(finals: list[Final], names: list[str | None]) -> None:
    def runs(said: list[str | None]) -> list[str | None]:
        return [name for at, name in enumerate(said) if not at or name != said[at - 1]]

    paragraphs = render(finals, "txt").strip().split("\n\n")
    assert runs([text.partition(": ")[0] if ": " in text else None for text in paragraphs]) == names
    assert runs([cue.speaker for cue in build_cues(finals)]) == names


def test_neither_a_cue_nor_a_paragraph_ends_with_a_title() -> None:
    assert build_cue_texts(time_words("We waited for Dr. Smith and then we left. It rained.", 0)) == [
        "We waited for Dr. Smith and then we left.",
        "It rained.",
    ]
    long = [
        build_final("word " * 85 + "Mr.", 0, 9),
        build_final("Smith came.", 9, 18),
        build_final("Then more.", 18, 19),
    ]
    assert [text[-5:] for text in render(long, "txt").strip().split("\n\n")] == ["came.", "more."]


def time_words(text: str, start: float, each: float = 0.3) -> tuple[Word, ...]:
    """Return the words of a text with times, without pauses."""
    words = enumerate(text.split())
    return tuple(Word(word, start + at * each, start + (at + 1) * each) for at, word in words)


def build_cue_texts(*parts: tuple[Word, ...]) -> list[str]:
    words = tuple(word for part in parts for word in part)
    text = " ".join(word.word for word in words)
    return [" ".join(cue.lines) for cue in build_cues([build_final(text, 0, words[-1].end, words=words)])]


def test_a_stray_word_joins_its_neighbours() -> None:
    assert build_cue_texts(
        time_words("We went home.", 0), time_words("The", 2.5), time_words("boat came later.", 4.0)
    ) == [
        "We went home.",
        "The boat came later.",
    ]
    assert build_cue_texts(
        time_words("They waited for the", 0), time_words("boat", 2.7), time_words("Then all left.", 8)
    ) == [
        "They waited for the boat",
        "Then all left.",
    ]


def test_a_word_too_many_for_a_cue_takes_others_along() -> None:
    full = "Nineteen travellers waited at the harbour for a boat that never came to them all day long"
    first, second = build_cue_texts(
        time_words(f"{full} and", 0), time_words("Then nothing more was said.", 30)
    )[:2]
    assert f"{first} {second}" == f"{full} and"
    assert abs(len(first) - len(second)) < 15


@pytest.mark.parametrize("each", [0.05, 0.2])
def test_the_last_word_of_a_sentence_is_not_alone(each: float) -> None:
    full = "Nineteen travellers waited at the harbour for a boat that never came to them a day"
    first, second, third = build_cue_texts(
        time_words(f"{full} now.", 0, each), time_words("Then nothing more was said.", 9)
    )
    assert f"{first} {second}" == f"{full} now."
    assert len(second.split()) > 1
    assert third == "Then nothing more was said."


def test_a_short_cue_is_shown_as_long_as_reading_takes() -> None:
    (cue,) = build_cues([build_final("Yes.", 3, 3.2)])
    assert (cue.start, cue.end) == (3000, 3000 + MIN_CUE_MS)
    (cue,) = build_cues([build_final("A hurried sentence of so many letters.", 3, 3.9)])
    assert cue.end - cue.start == 38 * 50


def test_a_short_cue_fills_the_silence_around_it() -> None:
    finals = [
        build_final("Where is it now?", 0, 2, speaker="A"),
        build_final("There.", 2.4, 2.7, speaker="B"),
        build_final("Thank you very much.", 2.8, 5, speaker="A"),
    ]
    assert [(cue.start, cue.end) for cue in build_cues(finals)] == [(0, 2000), (2000, 2800), (2800, 5000)]

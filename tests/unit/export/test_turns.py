"""Tests of turns: paragraphs of one speaker each."""

from __future__ import annotations

import pytest

from echoic.export.formats import render
from echoic.export.turns import ends_sentence
from echoic.protocol.frames import Word
from support.finals import build_final, build_talk_finals


def test_text_has_a_paragraph_for_each_turn() -> None:
    assert render(build_talk_finals(), "txt") == (
        "SPEAKER_00: Where is it?\n\nSPEAKER_01: Here.\n\nSPEAKER_00: Thank you.\n"
    )
    assert render(
        [build_final("One", 0, 1), build_final("two.", 1, 2), build_final("Three.", 8, 9)], "txt"
    ) == ("One two.\n\nThree.\n")


def test_words_without_a_speaker_do_not_end_a_turn() -> None:
    words = (Word("they", 2.0, 2.4), Word("went", 2.4, 2.8, speaker_id=0))
    finals = [
        build_final("Then", 0, 2, speaker="SPEAKER_00"),
        build_final("they went", 2, 3, words=words),
        build_final("home.", 3, 4, speaker="SPEAKER_00"),
        build_final("Good.", 4, 5, speaker="SPEAKER_01"),
    ]
    assert render(finals, "txt") == "SPEAKER_00: Then they went home.\n\nSPEAKER_01: Good.\n"


@pytest.mark.parametrize(
    "text", ["Mr.", "asked Mrs.", "Ms.", "Dr.", "the St.", "Prof.", "one vs.", "by J.", "“Dr."]
)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert not ends_sentence(text)


@pytest.mark.parametrize(
    "text", ["No.", "the best.", "So do I.", "an alarm.", "he said “no.”", "NATO.", "はい。"]
)
def test_other_words_end_a_sentence(text: str) -> None:
    assert ends_sentence(text)


def test_no_before_a_number_ends_no_sentence() -> None:
    assert not ends_sentence("They play No.", "5 today")
    assert ends_sentence("They say No.", "Five do")


def test_long_speech_is_split_into_paragraphs() -> None:
    sentences = [build_final("word " * 30 + "end.", i * 8.0, i * 8.0 + 8.0) for i in range(9)]
    lengths = [len(text) for text in render(sentences, "txt").strip().split("\n\n")]
    assert len(lengths) == 3
    endless = [build_final("word " * 30, i * 8.0, i * 8.0 + 8.0) for i in range(30)]
    assert all(1400 < len(text) < 1700 for text in render(endless, "txt").split("\n\n")[:-1])

from __future__ import annotations

import pytest

from echoic.insights.rules.keywords import KeywordCounts
from echoic.insights.rules.sentences import split_sentences
from support.builders import parse_finals, read_meeting


def count(talk: str) -> KeywordCounts:
    return KeywordCounts(split_sentences(parse_finals(talk)))


@pytest.mark.parametrize(("name", "language"), [("launch", "en"), ("german", "de")])
def test_the_language_is_detected(name: str, language: str) -> None:
    assert KeywordCounts(split_sentences(read_meeting(name))).language == language


def test_singular_and_plural_count_as_one_word() -> None:
    counts = count("The box and the boxes. A city and cities. One lid, two lids. Glass is glass.")
    assert {stem: counts.stem_counts[stem] for stem in ("box", "city", "lid", "glass")} == {
        "box": 2,
        "city": 2,
        "lid": 2,
        "glass": 2,
    }


def test_a_topic_is_one_word_for_one_thing_and_a_name_is_whole() -> None:
    counts = count("""SPEAKER_00: Hold on, the branch in New Jersey called, the branches in Ohio called too.
SPEAKER_01: Well, people in New Jersey ask for a branch that is open.
SPEAKER_00: I moved to New Jersey when they asked for branches, so I hold that they called the right one.""")
    assert set(counts.find_topics(5)) == {"New Jersey", "branch"}


def test_a_sentence_weighs_its_words_by_their_count_in_the_talk() -> None:
    counts = count("The kettle has a lid. The kettle is red.")
    assert counts.count_stems(0) == {"kettle": 2, "lid": 1}
    assert counts.count_stems(1) == {"kettle": 2, "red": 1}


def test_a_script_without_spaces_has_no_topics() -> None:
    counts = count("今天我们讨论了新办公室的搬迁和费用。" * 20)
    assert not counts.is_spaced
    assert counts.find_topics(5) == ()

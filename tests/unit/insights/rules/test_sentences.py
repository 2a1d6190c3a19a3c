from __future__ import annotations

from echoic.insights.base import TranscriptSegment
from echoic.insights.rules.sentences import Sentence, split_sentences
from support.builders import parse_finals


def texts(talk: str) -> list[str]:
    return [sentence.text for sentence in split_sentences(parse_finals(talk))]


def test_punctuation_ends_sentences_and_marks_questions() -> None:
    talk = 'The lid is open. "Is it hot?" Yes!'
    assert split_sentences(parse_finals(talk)) == [
        Sentence("The lid is open."),
        Sentence('"Is it hot?"', is_question=True),
        Sentence("Yes!"),
    ]


def test_abbreviations_and_initials_end_no_sentence() -> None:
    talk = "Dr. Jones met J. Smith at 5 p.m. on Monday. They talked."
    assert texts(talk) == ["Dr. Jones met J. Smith at 5 p.m. on Monday.", "They talked."]


def test_a_full_width_question_mark_is_a_question() -> None:
    question, answer = split_sentences(parse_finals("你好吗？我很好。"))  # noqa: RUF001  # Chinese
    assert (question.is_question, answer.is_question) == (True, False)


def test_speech_without_punctuation_is_split_at_clause_starts() -> None:
    talk = "the kettle has a lid and a spring we asked two hundred people about it okay let's stop here"
    assert texts(talk) == [
        "the kettle has a lid and a spring",
        "we asked two hundred people about it",
        "okay let's stop here",
    ]


def test_a_clause_goes_on_after_a_word_that_cannot_end_it() -> None:
    assert texts("it is hard to say whether we can open it when the kettle is hot") == [
        "it is hard to say whether we can open it when the kettle is hot"
    ]


def test_a_sentence_ends_with_the_turn_of_its_speaker() -> None:
    sentences = split_sentences(
        parse_finals("SPEAKER_00: I'll send the report to\nSPEAKER_01: the weather is nice")
    )
    assert [(one.text, one.speaker) for one in sentences] == [
        ("I'll send the report to", "SPEAKER_00"),
        ("the weather is nice", "SPEAKER_01"),
    ]


def test_a_sentence_ends_with_a_long_pause() -> None:
    segments = [TranscriptSegment(1, "we stop", 0.0, 1.0), TranscriptSegment(2, "and go on", 3.0, 4.0)]
    assert [sentence.text for sentence in split_sentences(segments)] == ["we stop", "and go on"]


def test_no_clause_without_punctuation_is_endless() -> None:
    assert max(len(sentence.words) for sentence in split_sentences(parse_finals("kettle " * 500))) == 28

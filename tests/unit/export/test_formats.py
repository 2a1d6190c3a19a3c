from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.export.cues import MAX_CUE_SECONDS, MAX_LINE_LENGTH, MAX_LINES, MIN_CUE_MS, build_cues
from echoic.export.formats import render, render_insight, render_json, render_srt, render_vtt
from echoic.export.turns import LONG_TURN_CHARACTERS, ends_sentence, join_transcript
from echoic.protocol.frames import ActionItem, Final, Insight, InsightSource, Word
from support.finals import any_finals, build_final, build_late_finals, build_talk_finals


def test_a_final_is_a_cue() -> None:
    assert (
        render_srt([build_final("Hello there.", 0.5, 2.0)])
        == "1\n00:00:00,500 --> 00:00:02,000\nHello there.\n"
    )
    assert (
        render_vtt([build_final("Hello.", 0.5, 2.0)]) == "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nHello.\n"
    )


def test_hours_are_written_out() -> None:
    assert "27:46:40,250 --> 27:46:42,000" in render_srt([build_final("Late.", 100_000.25, 100_002.0)])


def test_nothing_heard_is_still_a_file() -> None:
    assert render([], "srt") == ""
    assert render([], "vtt") == "WEBVTT\n"
    assert render([], "txt") == "\n"
    assert json.loads(render([], "json")) == {"text": "", "segments": []}


def test_a_sentence_over_several_finals_is_one_cue_and_its_end_ends_it() -> None:
    found = build_cues(
        [build_final("We went", 0, 2), build_final("home.", 2, 3.5), build_final("Then we", 3.5, 5)]
    )
    assert [cue.lines for cue in found] == [("We went home.",), ("Then we",)]
    assert (found[0].start, found[0].end) == (0, 3500)


def test_a_pause_ends_a_cue() -> None:
    assert len(build_cues([build_final("one man", 0, 1), build_final("two men", 2.5, 4)])) == 2
    assert len(build_cues([build_final("one man", 0, 1), build_final("two men", 1.5, 3)])) == 1


def test_words_that_bear_times_decide_when_a_cue_is_shown() -> None:
    words = (Word("Hello", 0.4, 0.7), Word("there.", 0.8, 1.4))
    (cue,) = build_cues([build_final("Hello there.", 0, 2, words=words)])
    assert (cue.start, cue.end) == (400, 1400)


def test_words_without_times_are_shown_where_they_were_spoken_roughly() -> None:
    (cue,) = build_cues([build_final("Hello there.", 6, 6, spoken=(3.2, 4.6))])
    assert (cue.start, cue.end) == (3200, 4600)


def test_long_text_shares_its_time_by_length() -> None:
    text = " ".join(["word"] * 40)
    found = build_cues([build_final(text, 0, 12)])
    assert " ".join(line for cue in found for line in cue.lines) == text
    lengths = [sum(len(line) for line in cue.lines) / (cue.end - cue.start) for cue in found]
    assert max(lengths) < 1.2 * min(lengths)


def test_text_without_spaces_is_cut_into_lines_and_loses_nothing() -> None:
    text = "東京" * 60
    found = build_cues([build_final(text, 0, 6)])
    assert "".join(line for cue in found for line in cue.lines) == text
    assert len(found) > 1


def test_what_the_formats_use_as_marks_is_escaped() -> None:
    finals = [build_final("a --> b <i> & c\n\n2", 0, 1)]
    assert "a --&gt; b &lt;i&gt; &amp; c 2" in render_vtt(finals)
    assert render_srt(finals).count("-->") == 1
    assert "\n\n" not in render_srt(finals)


def test_another_speaker_begins_another_cue() -> None:
    finals = [build_final("Yes", 0, 1, speaker="A & B"), build_final("no", 1, 2, speaker="SPEAKER_01")]
    assert "<v A &amp; B>Yes" in render_vtt(finals)
    assert "<v SPEAKER_01>no" in render_vtt(finals)
    assert len(build_cues(finals)) == 2


def test_json_holds_segments_words_and_speakers() -> None:
    words = (Word("Hi", 0.0, 0.5), Word("you", 0.5, 1.0, 0.9))
    body = json.loads(render([build_final("Hi you", 0, 1, words=words, speaker="SPEAKER_00")], "json"))
    assert body["text"] == "Hi you"
    assert body["segments"][0]["words"] == [
        {"word": "Hi", "start": 0.0, "end": 0.5},
        {"word": "you", "start": 0.5, "end": 1.0, "confidence": 0.9},
    ]
    assert body["segments"][0]["speaker"] == "SPEAKER_00"
    assert "words" not in json.loads(render([build_final("Hi", 0, 1)], "json"))["segments"][0]


@given(any_finals)
def test_whatever_was_heard_cues_follow_each_other_and_fit(finals: list[Final]) -> None:
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
def test_no_cue_stands_too_long(words: int, seconds: float) -> None:
    finals = [build_final("word", i * seconds, (i + 1) * seconds) for i in range(words)]
    assert all(cue.end - cue.start <= 1000 * max(MAX_CUE_SECONDS, seconds) + 1 for cue in build_cues(finals))


def test_a_cue_breaks_where_another_speaks_within_a_final() -> None:
    assert render_srt(build_talk_finals()) == (
        "1\n00:00:00,000 --> 00:00:00,900\nSPEAKER_00: Where is it?\n\n"
        "2\n00:00:01,167 --> 00:00:02,000\nSPEAKER_01: Here.\n\n"
        "3\n00:00:02,000 --> 00:00:03,500\nSPEAKER_00: Thank you.\n"
    )
    assert re.findall(r"<v (\S+)>(.+)", render_vtt(build_talk_finals())) == [
        ("SPEAKER_00", "Where is it?"),
        ("SPEAKER_01", "Here."),
        ("SPEAKER_00", "Thank you."),
    ]


def test_text_has_a_paragraph_for_each_turn() -> None:
    assert render(build_talk_finals(), "txt") == (
        "SPEAKER_00: Where is it?\n\nSPEAKER_01: Here.\n\nSPEAKER_00: Thank you.\n"
    )
    assert render(
        [build_final("One", 0, 1), build_final("two.", 1, 2), build_final("Three.", 8, 9)], "txt"
    ) == ("One two.\n\nThree.\n")


def test_json_has_the_speaker_of_each_word() -> None:
    first = json.loads(render(build_talk_finals(), "json"))["segments"][0]
    assert (first["speaker"], first["speaker_id"]) == ("SPEAKER_00", 0)
    assert [word["speaker_id"] for word in first["words"]] == [0, 0, 0, 1]


def test_a_name_stands_where_a_turn_begins_and_leaves_the_rest_of_the_lines_to_the_words() -> None:
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


def test_insights_are_told_part_by_part() -> None:
    insight = Insight(
        insight_id="1",
        stage="final",
        provider="rules",
        model="rules",
        summary=("They met.",),
        action_items=(ActionItem("Send it\nsoon", "Anna"), ActionItem("Wait")),
        decisions=(),
        topics=("boats",),
        source=InsightSource((1, 2), 0.0, 3.5, 2),
    )
    assert render_insight(insight) == (
        "Summary\n- They met.\n\nAction items\n- Send it soon (Anna)\n- Wait\n\nTopics\n- boats\n"
    )
    assert json.loads(render_json(build_talk_finals(), [insight]))["insights"][0]["topics"] == ["boats"]


def test_words_of_nobody_known_do_not_end_a_turn() -> None:
    words = (Word("they", 2.0, 2.4), Word("went", 2.4, 2.8, speaker_id=0))
    finals = [
        build_final("Then", 0, 2, speaker="SPEAKER_00"),
        build_final("they went", 2, 3, words=words),
        build_final("home.", 3, 4, speaker="SPEAKER_00"),
        build_final("Good.", 4, 5, speaker="SPEAKER_01"),
    ]
    assert render(finals, "txt") == "SPEAKER_00: Then they went home.\n\nSPEAKER_01: Good.\n"


def test_what_nobody_is_known_to_have_said_is_not_who_spoke_before() -> None:
    finals = build_late_finals(0, None, None, 1)
    assert render(finals, "txt") == (
        "SPEAKER_00: Part a it is.\n\nPart b it is. Part c it is.\n\nSPEAKER_01: Part d it is.\n"
    )
    assert re.findall(r"^(?:<v (.+)>)?Part (.)", render_vtt(finals), re.MULTILINE) == [
        ("SPEAKER_00", "a"), ("", "b"), ("", "c"), ("SPEAKER_01", "d")
    ]  # fmt: skip
    assert re.findall(r"^(.*)Part .", render_srt(finals), re.MULTILINE) == [
        "SPEAKER_00: ",
        "- ",
        "",
        "SPEAKER_01: ",
    ]


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
def test_it_is_who_speaks_before_and_after_it_unless_it_is_long(
    finals: list[Final], names: list[str | None]
) -> None:
    def runs(said: list[str | None]) -> list[str | None]:
        return [name for at, name in enumerate(said) if not at or name != said[at - 1]]

    paragraphs = render(finals, "txt").strip().split("\n\n")
    assert runs([text.partition(": ")[0] if ": " in text else None for text in paragraphs]) == names
    assert runs([cue.speaker for cue in build_cues(finals)]) == names


@pytest.mark.parametrize(
    "text", ["Mr.", "asked Mrs.", "Ms.", "Dr.", "the St.", "Prof.", "one vs.", "by J.", "“Dr."]
)
def test_a_full_stop_of_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert not ends_sentence(text)


@pytest.mark.parametrize(
    "text", ["No.", "the best.", "So do I.", "an alarm.", "he said “no.”", "NATO.", "はい。"]
)
def test_others_end_one(text: str) -> None:
    assert ends_sentence(text)


def test_a_number_after_no_goes_on() -> None:
    assert not ends_sentence("They play No.", "5 today")
    assert ends_sentence("They say No.", "Five do")


def test_neither_a_cue_nor_a_paragraph_ends_with_a_title() -> None:
    assert lines_of(spoken("We waited for Dr. Smith and then we left. It rained.", 0)) == [
        "We waited for Dr. Smith and then we left.",
        "It rained.",
    ]
    long = [
        build_final("word " * 85 + "Mr.", 0, 9),
        build_final("Smith came.", 9, 18),
        build_final("Then more.", 18, 19),
    ]
    assert [text[-5:] for text in render(long, "txt").strip().split("\n\n")] == ["came.", "more."]


def test_who_speaks_for_long_is_written_in_paragraphs() -> None:
    sentences = [build_final("word " * 30 + "end.", i * 8.0, i * 8.0 + 8.0) for i in range(9)]
    lengths = [len(text) for text in render(sentences, "txt").strip().split("\n\n")]
    assert len(lengths) == 3
    endless = [build_final("word " * 30, i * 8.0, i * 8.0 + 8.0) for i in range(30)]
    assert all(1400 < len(text) < 1700 for text in render(endless, "txt").split("\n\n")[:-1])


def spoken(text: str, start: float, each: float = 0.3) -> tuple[Word, ...]:
    """Return the words of a text, one after the other."""
    words = enumerate(text.split())
    return tuple(Word(word, start + at * each, start + (at + 1) * each) for at, word in words)


def lines_of(*said: tuple[Word, ...]) -> list[str]:
    words = tuple(word for some in said for word in some)
    text = " ".join(word.word for word in words)
    return [" ".join(cue.lines) for cue in build_cues([build_final(text, 0, words[-1].end, words=words)])]


def test_a_stray_word_is_shown_with_its_neighbours() -> None:
    assert lines_of(spoken("We went home.", 0), spoken("The", 2.5), spoken("boat came later.", 4.0)) == [
        "We went home.",
        "The boat came later.",
    ]
    assert lines_of(spoken("They waited for the", 0), spoken("boat", 2.7), spoken("Then all left.", 8)) == [
        "They waited for the boat",
        "Then all left.",
    ]


def test_a_word_for_which_a_full_cue_has_no_room_takes_some_along() -> None:
    full = "Nineteen travellers waited at the harbour for a boat that never came to them all day long"
    first, second = lines_of(spoken(f"{full} and", 0), spoken("Then nothing more was said.", 30))[:2]
    assert f"{first} {second}" == f"{full} and"
    assert abs(len(first) - len(second)) < 15


@pytest.mark.parametrize("each", [0.05, 0.2])
def test_the_last_word_of_a_sentence_is_not_alone_behind_a_full_cue(each: float) -> None:
    full = "Nineteen travellers waited at the harbour for a boat that never came to them a day"
    first, second, third = lines_of(spoken(f"{full} now.", 0, each), spoken("Then nothing more was said.", 9))
    assert f"{first} {second}" == f"{full} now."
    assert len(second.split()) > 1
    assert third == "Then nothing more was said."


def test_a_short_cue_stays_for_as_long_as_it_takes_to_read() -> None:
    (cue,) = build_cues([build_final("Yes.", 3, 3.2)])
    assert (cue.start, cue.end) == (3000, 3000 + MIN_CUE_MS)
    (cue,) = build_cues([build_final("A hurried sentence of so many letters.", 3, 3.9)])
    assert cue.end - cue.start == 38 * 50


def test_between_others_it_takes_the_silence_there_is() -> None:
    finals = [
        build_final("Where is it now?", 0, 2, speaker="A"),
        build_final("There.", 2.4, 2.7, speaker="B"),
        build_final("Thank you very much.", 2.8, 5, speaker="A"),
    ]
    assert [(cue.start, cue.end) for cue in build_cues(finals)] == [(0, 2000), (2000, 2800), (2800, 5000)]


def test_names_are_escaped_as_each_format_wants_it() -> None:
    finals = [
        build_final("Yes.", 0, 2, speaker="A <i> & B\n\n--> C"),
        build_final("No.", 6, 8, speaker=" \n"),
    ]
    assert render_srt(finals) == (
        "1\n00:00:00,000 --> 00:00:02,000\nA ‹i› & B → C: Yes.\n\n2\n00:00:06,000 --> 00:00:08,000\n- No.\n"  # noqa: RUF001
    )
    assert render_vtt(finals) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v A &lt;i&gt; &amp; B --&gt; C>Yes.\n\n"
        "00:00:06.000 --> 00:00:08.000\nNo.\n"
    )
    assert render(finals, "txt") == "A <i> & B --> C: Yes.\n\nNo.\n"

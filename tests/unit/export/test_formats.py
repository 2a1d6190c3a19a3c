"""Tests of the formats: text, SubRip, WebVTT, JSON."""

from __future__ import annotations

import json
import re

from echoic.export.cues import build_cues
from echoic.export.formats import render, render_insight, render_json, render_srt, render_vtt
from echoic.protocol.frames import ActionItem, Insight, InsightSource, Word
from support.finals import build_final, build_late_finals, build_talk_finals


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


def test_no_finals_give_a_valid_file() -> None:
    assert render([], "srt") == ""
    assert render([], "vtt") == "WEBVTT\n"
    assert render([], "txt") == "\n"
    assert json.loads(render([], "json")) == {"text": "", "segments": []}


def test_markup_is_escaped() -> None:
    finals = [build_final("a --> b <i> & c\n\n2", 0, 1)]
    assert "a --&gt; b &lt;i&gt; &amp; c 2" in render_vtt(finals)
    assert render_srt(finals).count("-->") == 1
    assert "\n\n" not in render_srt(finals)


def test_another_speaker_starts_another_cue() -> None:
    finals = [build_final("Yes", 0, 1, speaker="A & B"), build_final("no", 1, 2, speaker="SPEAKER_01")]
    assert "<v A &amp; B>Yes" in render_vtt(finals)
    assert "<v SPEAKER_01>no" in render_vtt(finals)
    assert len(build_cues(finals)) == 2


def test_json_has_segments_words_and_speakers() -> None:
    words = (Word("Hi", 0.0, 0.5), Word("you", 0.5, 1.0, 0.9))
    body = json.loads(render([build_final("Hi you", 0, 1, words=words, speaker="SPEAKER_00")], "json"))
    assert body["text"] == "Hi you"
    assert body["segments"][0]["words"] == [
        {"word": "Hi", "start": 0.0, "end": 0.5},
        {"word": "you", "start": 0.5, "end": 1.0, "confidence": 0.9},
    ]
    assert body["segments"][0]["speaker"] == "SPEAKER_00"
    assert "words" not in json.loads(render([build_final("Hi", 0, 1)], "json"))["segments"][0]


def test_two_speakers_of_a_final_have_two_cues() -> None:
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


def test_json_has_the_speaker_of_each_word() -> None:
    first = json.loads(render(build_talk_finals(), "json"))["segments"][0]
    assert (first["speaker"], first["speaker_id"]) == ("SPEAKER_00", 0)
    assert [word["speaker_id"] for word in first["words"]] == [0, 0, 0, 1]


def test_insights_are_rendered_part_by_part() -> None:
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


def test_unknown_speakers_have_no_name_in_any_format() -> None:
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


def test_names_are_escaped_in_each_format() -> None:
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

from __future__ import annotations

import random
import time

import pytest

from echoic.insights.base import Findings, TranscriptSegment
from echoic.insights.rules.summary import RuleProvider, summarize_segments
from support.builders import MEETINGS_FOLDER, parse_finals, read_meeting


def test_a_meeting_has_a_summary_and_topics() -> None:
    found = summarize_segments(read_meeting("launch"))
    assert {"launch", "video campaign", "card scanner", "budget"} <= set(found.topics)
    assert (
        "The mobile app is nearly there, but the payment screen still crashes on older Android phones."
        in found.summary
    )


def test_topics_are_found_without_punctuation_and_capitals() -> None:
    found = summarize_segments(read_meeting("launch-unpunctuated"))
    assert {"launch", "video campaign", "card scanner", "budget"} <= set(found.topics)
    assert found.summary


@pytest.mark.parametrize("name", ["launch", "standup", "lecture", "interview", "german"])
def test_summaries_are_quoted_in_the_order_of_the_talk(name: str) -> None:
    talk = " ".join(segment.text for segment in read_meeting(name))
    summary = summarize_segments(read_meeting(name)).summary
    places = [talk.find(sentence[1:].replace("um, ", "")[-30:]) for sentence in summary]
    assert summary
    assert -1 not in places
    assert places == sorted(places)


def test_action_items_and_decisions_are_left_to_a_language_model() -> None:
    found = summarize_segments(parse_finals("We decided to ship. Alice will send the report by Friday."))
    assert (found.action_items, found.decisions) == ((), ())


def test_german_talk_has_a_summary_and_topics() -> None:
    found = summarize_segments(read_meeting("german"))
    assert "Heute geht es um den Umzug in das neue Büro und um die Kosten für den Umzug." in found.summary
    assert {"Umzug", "Kosten", "Server"} <= set(found.topics)


def test_fillers_and_dependent_sentences_are_not_quoted() -> None:
    talk = """SPEAKER_00: I don't know whether the kettle and the lid belong to the kettle.
SPEAKER_01: Oh, I mean, the lid of the kettle is hard to open when the kettle is hot.
SPEAKER_00: Of the kettle and the lid of the kettle and the lid.
SPEAKER_01: The spring of the lid costs fifty cents.
SPEAKER_00: We asked two hundred people about their kettle."""
    assert summarize_segments(parse_finals(talk)).summary == (
        "The lid of the kettle is hard to open when the kettle is hot.",
    )


@pytest.mark.parametrize("text", ["x", "Yes.", "um", "...", "? ! .", "42"])
def test_almost_no_words_have_no_insight(text: str) -> None:
    assert summarize_segments(parse_finals(text)) == Findings()


def test_a_short_talk_is_its_own_summary() -> None:
    assert summarize_segments(parse_finals("We ship the new version on Friday.")).summary == (
        "We ship the new version on Friday.",
    )


def test_too_few_standalone_sentences_make_no_summary() -> None:
    talk = """hello hello
oh hello i didn't know you were there neither did i okay i thought, you know, I heard a thief
this is diane and new jersey and i'm sheila and texas originally from chicago
at least um you know, they all call me a Yankee down here, so it would come.
I don't hear that New Jersey now."""
    assert summarize_segments(parse_finals(talk)).summary == ()


def test_the_time_grows_linearly_with_the_length() -> None:
    lines = [line for name in ("launch", "standup", "lecture", "interview") for line in read_lines(name)]
    pick = random.Random(1)  # noqa: S311  # a test's order
    short, long = (parse_finals("\n".join(pick.choices(lines, k=count))) for count in (100, 1000))
    assert measure_seconds(long) < 25 * measure_seconds(short) + 0.1
    assert len(summarize_segments(long).summary) <= 5


@pytest.mark.parametrize("word", ["the ", "and please ", ". ", "a-", "um ", "so, ", "x"])
def test_no_text_takes_the_rules_long(word: str) -> None:
    assert measure_seconds(parse_finals(word * (100_000 // len(word)))) < 10


async def test_the_provider_is_named_rules_and_runs_in_a_thread() -> None:
    rules = RuleProvider()
    found = await rules.summarize(read_meeting("launch"), "final")
    assert found == summarize_segments(read_meeting("launch"))
    assert (rules.name, rules.model) == ("rules", "extractive")
    await rules.close()


def read_lines(name: str) -> list[str]:
    return (MEETINGS_FOLDER / f"{name}.txt").read_text("utf-8").splitlines()


def measure_seconds(segments: list[TranscriptSegment]) -> float:
    start = time.thread_time()
    summarize_segments(segments)
    return time.thread_time() - start

"""The rules against meetings written for them, and against what only sounds like work or decisions."""

from __future__ import annotations

import random
import time

import pytest

from echoic.insights.base import ActionItem, Findings, TranscriptSegment
from echoic.insights.rules.summary import RuleProvider, notes
from support.meetings import MEETINGS_FOLDER, parse_finals, read_meeting

TRAPS = (MEETINGS_FOLDER / "traps.txt").read_text("utf-8").splitlines()
NO_MARKS = str.maketrans("", "", ".,?!:")


def unpunctuated(text: str) -> str:
    return text.lower().translate(NO_MARKS)


def items(found: Findings) -> list[tuple[str | None, str]]:
    return [(item.owner, item.description) for item in found.action_items]


def test_a_meeting_with_speakers() -> None:
    found = notes(read_meeting("launch"))
    assert items(found) == [
        ("SPEAKER_01", "Update the card scanner library and test it on the old phones by Thursday"),
        ("SPEAKER_02", "Tell the press agency about the new launch date today"),
        ("Dana", "Send the updated press release to legal before Friday"),
        ("Robert", "Check with finance whether the extra budget is approved"),
    ]
    assert found.decisions == (
        "We've decided to move the launch to the fifteenth of May.",
        "For the advertising, we're going with the video campaign, not the posters.",
    )
    assert {"launch", "video campaign", "card scanner", "budget"} <= set(found.topics)
    assert (
        "The mobile app is nearly there, but the payment screen still crashes on older Android phones."
        in (found.summary)
    )


def test_the_same_meeting_without_punctuation_capitals_or_speakers() -> None:
    found = notes(read_meeting("launch-unpunctuated"))
    assert items(found) == [
        (None, "Update the card scanner library and test it on the old phones by thursday"),
        (None, "Tell the press agency about the new launch date today"),
        ("Dana", "Send the updated press release to legal before friday"),
        ("Robert", "Check with finance whether the extra budget is approved"),
    ]
    assert found.decisions[0] == "We've decided to move the launch to the fifteenth of may"
    assert len(found.decisions) == 2
    assert {"launch", "video campaign", "card scanner", "budget"} <= set(found.topics)


def test_a_stand_up() -> None:
    found = notes(read_meeting("standup"))
    assert items(found) == [
        ("SPEAKER_01", "Write the tests for the import job"),
        ("SPEAKER_02", "Open a ticket for the platform team right after this call"),
        ("Carlos", "Check the session cookie on staging"),
        ("Ann", "Look into the slow query before the demo"),
        ("SPEAKER_01", "Measure the slow query first"),
        (None, "Book a room for the demo on Wednesday"),
        ("Priya", "Review the migration"),
    ]
    assert found.decisions == ()
    assert "slow query" in found.topics


@pytest.mark.parametrize("name", ["lecture", "interview"])
def test_where_nobody_undertakes_or_settles_anything_nothing_is_made_up(name: str) -> None:
    found = notes(read_meeting(name))
    assert (found.action_items, found.decisions) == ((), ())
    assert found.summary
    assert found.topics


def test_in_another_language_there_is_a_summary_and_topics() -> None:
    found = notes(read_meeting("german"))
    assert "Heute geht es um den Umzug in das neue Büro und um die Kosten für den Umzug." in found.summary
    assert {"Umzug", "Kosten", "Server"} <= set(found.topics)
    assert (found.action_items, found.decisions) == ((), ())


@pytest.mark.parametrize("text", TRAPS)
def test_what_only_sounds_like_work_or_a_decision_is_neither(text: str) -> None:
    for said in (text, unpunctuated(text)):
        found = notes(parse_finals(said))
        assert (found.action_items, found.decisions) == ((), ()), said


@pytest.mark.parametrize(
    ("text", "owner", "description"),
    [
        ("Alice will send the report by Friday.", "Alice", "Send the report by Friday"),
        ("Bob is going to update the wiki.", "Bob", "Update the wiki"),
        ("I'll send the slides after the meeting.", None, "Send the slides after the meeting"),
        ("I will prepare the budget for next week.", None, "Prepare the budget for next week"),
        ("Can you book the venue, Tom?", "Tom", "Book the venue"),
        ("Tom, can you please book the venue for the workshop?", "Tom", "Book the venue for the workshop"),
        ("Maria, please write the summary.", "Maria", "Write the summary"),
        ("Please send me the invoice by Monday.", None, "Send me the invoice by Monday"),
        ("We need to update the manual before the release.", None, "Update the manual before the release"),
        ("Action item: Bob to update the wiki.", "Bob", "Update the wiki"),
        ("The action item for Bob is to update the wiki.", "Bob", "Update the wiki"),
        ("The next step is to collect feedback from customers.", None, "Collect feedback from customers"),
        ("John needs to review the contract.", "John", "Review the contract"),
        ("I think Sarah should contact the vendor.", "Sarah", "Contact the vendor"),
        ("The design team will send the mockups tomorrow.", "The design team", "Send the mockups tomorrow"),
        ("I need to finish the report by Monday.", None, "Finish the report by Monday"),
        ("Let's schedule a follow-up for next Tuesday.", None, "Schedule a follow-up for next Tuesday"),
        ("So I'm gonna write the guide, and you check the numbers.", None, "Write the guide"),
        ("Okay, I'll follow up with Dana on the contract.", None, "Follow up with Dana on the contract"),
        ("I'll get back to the customer tomorrow.", None, "Get back to the customer tomorrow"),
        ("Someone needs to order new badges before Monday.", None, "Order new badges before Monday"),
        ("Would you please send the agency the invoice?", None, "Send the agency the invoice"),
        ("Could you send it to Dana by Friday?", None, "Send it to Dana by Friday"),
        ("I'll build a prototype with the button.", None, "Build a prototype with the button"),
        ("I'll switch that on and test it on staging.", None, "Switch that on and test it on staging"),
        ("I'll change the order and send a new invoice.", None, "Change the order and send a new invoice"),
        ("I'll send the invoice today, sorry.", None, "Send the invoice today"),
        ("Great, so Kim will set up the meeting and Lee will book a room.", "Kim", "Set up the meeting"),
    ],
)
def test_what_is_to_be_done_is_found_with_and_without_punctuation(
    text: str, owner: str | None, description: str
) -> None:
    assert (owner, description) in items(notes(parse_finals(text)))
    assert description.lower() in [
        one.lower() for _, one in items(notes(parse_finals(unpunctuated(text))))
    ] or (
        text.startswith("Can you")  # without a comma nothing tells the name from the venue
    )


@pytest.mark.parametrize(
    "text",
    [
        "We decided to go with Postgres.",
        "We've decided not to renew the contract.",
        "We agreed that the launch moves to May.",
        "Let's go with the blue design.",
        "We're going with option B.",
        "It was decided to close the office in July.",
        "The budget is approved.",
        "The final decision is to hire two engineers.",
        "So we'll go with the second vendor.",
        "We have settled on the name Aurora.",
        "The motion is carried.",
        "Everyone agreed that we need a bigger room.",
    ],
)
def test_what_is_settled_is_quoted(text: str) -> None:
    (quoted,) = notes(parse_finals(text)).decisions
    assert text.endswith(quoted[1:])
    assert len(notes(parse_finals(unpunctuated(text))).decisions) == 1


def test_a_topic_is_one_word_for_one_thing_and_a_name_is_whole() -> None:
    found = notes(
        parse_finals("""SPEAKER_00: Hold on, the branch in New Jersey called, and the branches in Ohio called too.
SPEAKER_01: Well, people in New Jersey ask for a branch that is open.
SPEAKER_00: I moved to New Jersey when they asked for branches, so I hold that they called the right one.""")
    )
    assert set(found.topics) == {"New Jersey", "branch"}


def test_what_leads_to_a_sentence_or_leans_on_another_is_not_in_the_summary() -> None:
    talk = """SPEAKER_00: I don't know whether the kettle and the lid belong to the kettle.
SPEAKER_01: Oh, I mean, the lid of the kettle is hard to open when the kettle is hot.
SPEAKER_00: Of the kettle and the lid of the kettle and the lid.
SPEAKER_01: The spring of the lid costs fifty cents.
SPEAKER_00: We asked two hundred people about their kettle."""
    assert notes(parse_finals(talk)).summary == (
        "The lid of the kettle is hard to open when the kettle is hot.",
    )


def test_what_is_said_twice_is_found_once() -> None:
    found = notes(
        parse_finals(
            "I'll send the report.\nYes, I'll send the report.\nWe agreed to wait.\nWe agreed to wait."
        )
    )
    assert found.action_items == (ActionItem("Send the report"),)


@pytest.mark.parametrize(
    "text", ["", "Yes.", "um", "...", "? ! .", "42", "今天我们讨论了新办公室的搬迁和费用。" * 20]
)
def test_where_there_is_little_to_find_little_is_found(text: str) -> None:
    found = notes(parse_finals(text or "x"))
    assert (found.action_items, found.decisions, found.topics) == ((), (), ())


def test_a_short_talk_is_its_own_summary() -> None:
    assert notes(parse_finals("We ship the new version on Friday.")).summary == (
        "We ship the new version on Friday.",
    )


def test_where_few_sentences_can_stand_alone_none_is_a_summary() -> None:
    talk = """hello hello
oh hello i didn't know you were there neither did i okay i thought, you know, I heard a thief
this is diane and new jersey and i'm sheila and texas originally from chicago
at least um you know, they all call me a Yankee down here, so it would come.
I don't hear that New Jersey now."""
    assert notes(parse_finals(talk)).summary == ()


def test_a_sentence_does_not_go_over_a_change_of_speakers_or_a_pause() -> None:
    found = notes(parse_finals("SPEAKER_00: I'll send the report to\nSPEAKER_01: the weather is nice"))
    assert found.action_items == (ActionItem("Send the report", "SPEAKER_00"),)


def test_hours_of_talk_take_a_time_that_grows_with_their_length_alone() -> None:
    lines = [line for name in ("launch", "standup", "lecture", "interview") for line in _lines(name)]
    pick = random.Random(1)  # noqa: S311  # a test's order
    short, long = (parse_finals("\n".join(pick.choices(lines, k=count))) for count in (100, 1000))
    assert _seconds(long) < 25 * _seconds(short) + 0.1
    found = notes(long)
    assert len(found.summary) <= 5
    assert len(found.action_items) <= 12


@pytest.mark.parametrize(
    "word",
    ["the ", "i'll send ", "and please ", "next steps for a ", ". ", "a-", "um ", "so, ", "Ab will ", "x"],
)
def test_no_talk_takes_the_rules_long(word: str) -> None:
    assert _seconds(parse_finals(word * (100_000 // len(word)))) < 10


async def test_the_provider_computes_beside_the_event_loop_and_says_what_it_is() -> None:
    rules = RuleProvider()
    found = await rules.summarize(read_meeting("launch"), "final")
    assert found == notes(read_meeting("launch"))
    assert (rules.name, rules.model) == ("rules", "extractive")
    await rules.close()


def _lines(name: str) -> list[str]:
    return (MEETINGS_FOLDER / f"{name}.txt").read_text("utf-8").splitlines()


def _seconds(said: list[TranscriptSegment]) -> float:
    began = time.thread_time()
    notes(said)
    return time.thread_time() - began

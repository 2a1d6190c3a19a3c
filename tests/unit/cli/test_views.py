"""How a stream looks."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from echoic.cli.views import LiveView, PlainView
from echoic.client import Final, Insight, InsightSource, Partial, Word


def final(text: str, **more: object) -> Final:
    given = {
        "segment_id": 1,
        "segment_start": 61.0,
        "segment_end": 63.0,
        "chunk_duration": 2.0,
        "overlap": 0.0,
        "chunk_start": 61.0,
        "chunk_end": 63.0,
        "new_audio_duration": 2.0,
        "cumulative_audio": 63.0,
    }
    return Final(text=text, **(given | more))  # type: ignore[arg-type]  # of the types that they have


def partial(text: str) -> Partial:
    return Partial(
        text=text, segment_id=1, segment_start=0, segment_end=1, buffer_duration=1, cumulative_audio=0
    )


def of_two() -> Final:
    words = tuple(Word(word, 61.0 + at, 61.5 + at, speaker_id=at) for at, word in enumerate(("Yes.", "No.")))
    return final("Yes. No.", words=words, speaker_id=0, speaker_label="SPEAKER_00")


def insight(*summary: str) -> Insight:
    return Insight(
        insight_id="1",
        stage="final",
        provider="rules",
        model="extractive",
        summary=summary,
        action_items=(),
        decisions=(),
        topics=(),
        source=InsightSource((1, 1), 0, 1, 1),
    )


def drawn(*frames: Final | Partial | Insight, width: int = 40, height: int = 8) -> str:
    """Return all that a live view writes."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=height, color_system="standard")
    with LiveView(console) as view:
        for frame in frames:
            view.show_frame(frame)
    return out.getvalue()


def test_each_who_speaks_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(of_two())
    assert capsys.readouterr().out == "SPEAKER_00: Yes.\nSPEAKER_01: No.\n"


def test_speakers_have_paragraphs_and_colours_of_their_own() -> None:
    written = drawn(of_two())
    colours = {name: colour for colour, name in re.findall(r"\x1b\[(\d+)m(SPEAKER_\d+): ", written)}
    assert colours.keys() == {"SPEAKER_00", "SPEAKER_01"}
    assert colours["SPEAKER_00"] != colours["SPEAKER_01"]


@pytest.mark.parametrize("text", ["\x1b]0;title\x07\x1b[2Jdone", "\x9b31mdone\x07\x08"])
def test_a_text_cannot_play_with_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(final(text))
    PlainView().show_frame(insight("We ship\x1b[31m."))
    plain = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", plain)
    written = drawn(partial(text), final(text), insight("We ship\x1b[31m."))
    assert "\x1b]0" not in written
    assert "\x1b[2J" not in written
    assert not re.search(r"[\x07\x08\x80-\x9f]", written)
    assert "done" in written


def test_notes_of_nothing_take_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(insight())
    assert capsys.readouterr().out == ""
    assert drawn(final("Yes."), insight()) == drawn(final("Yes."))


def test_words_of_any_script_fit_the_width() -> None:
    written = drawn(partial("日本語の字幕" * 20), final("日本語の字幕" * 20), width=20, height=4)
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).splitlines()
    assert "日本語の字幕日本語の" in rows
    assert max(map(cell_len, rows)) == 20


def test_what_does_not_fit_shows_its_end() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    frames = drawn(partial(words), width=20, height=4)
    assert "word59" in frames
    assert "word1 " not in frames

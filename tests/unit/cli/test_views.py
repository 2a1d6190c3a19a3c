from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from echoic.cli.views import LiveView, PlainView
from echoic.client import Final, Insight, InsightSource, Partial, Word


def build_final(text: str, **more: object) -> Final:
    fields = {
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
    return Final(text=text, **(fields | more))  # type: ignore[arg-type]  # of the right types


def build_partial(text: str) -> Partial:
    return Partial(
        text=text, segment_id=1, segment_start=0, segment_end=1, buffer_duration=1, cumulative_audio=0
    )


def build_dialogue() -> Final:
    words = tuple(Word(word, 61.0 + at, 61.5 + at, speaker_id=at) for at, word in enumerate(("Yes.", "No.")))
    return build_final("Yes. No.", words=words, speaker_id=0, speaker_label="SPEAKER_00")


def build_insight(*summary: str) -> Insight:
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


def render_live(*frames: Final | Partial | Insight, width: int = 40, height: int = 8) -> str:
    """Return the output of a live view."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=height, color_system="standard")
    with LiveView(console) as view:
        for frame in frames:
            view.show_frame(frame)
    return out.getvalue()


def test_each_speaker_turn_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(build_dialogue())
    assert capsys.readouterr().out == "SPEAKER_00: Yes.\nSPEAKER_01: No.\n"


def test_speakers_have_their_own_paragraphs_and_colours() -> None:
    written = render_live(build_dialogue())
    colours = {name: colour for colour, name in re.findall(r"\x1b\[(\d+)m(SPEAKER_\d+): ", written)}
    assert colours.keys() == {"SPEAKER_00", "SPEAKER_01"}
    assert colours["SPEAKER_00"] != colours["SPEAKER_01"]


@pytest.mark.parametrize("text", ["\x1b]0;title\x07\x1b[2Jdone", "\x9b31mdone\x07\x08"])
def test_control_characters_do_not_reach_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(build_final(text))
    PlainView().show_frame(build_insight("We ship\x1b[31m."))
    plain = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", plain)
    written = render_live(build_partial(text), build_final(text), build_insight("We ship\x1b[31m."))
    assert "\x1b]0" not in written
    assert "\x1b[2J" not in written
    assert not re.search(r"[\x07\x08\x80-\x9f]", written)
    assert "done" in written


def test_empty_insights_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show_frame(build_insight())
    assert capsys.readouterr().out == ""
    assert render_live(build_final("Yes."), build_insight()) == render_live(build_final("Yes."))


def test_wide_characters_fit_the_width() -> None:
    written = render_live(
        build_partial("日本語の字幕" * 20), build_final("日本語の字幕" * 20), width=20, height=4
    )
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).splitlines()
    assert "日本語の字幕日本語の" in rows
    assert max(map(cell_len, rows)) == 20


def test_a_long_partial_shows_its_end() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    frames = render_live(build_partial(words), width=20, height=4)
    assert "word59" in frames
    assert "word1 " not in frames

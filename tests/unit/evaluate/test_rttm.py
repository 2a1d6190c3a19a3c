from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from echoic.evaluate.diarization import InvalidReferenceFile, LabeledTurn, read_rttm

if TYPE_CHECKING:
    from pathlib import Path

LINE = "SPEAKER talk 1 {} {} <NA> <NA> {} <NA> <NA>\n"


def test_turns_come_in_order_and_may_overlap(tmp_path: Path) -> None:
    file = tmp_path / "a.rttm"
    file.write_text(
        ";; a comment\n" + LINE.format(4.0, 2.5, "Ánna") + LINE.format(0.5, 4.5, "Bob") + "\nLEXEME x\n"
    )
    assert read_rttm(file) == (LabeledTurn(0.5, 5.0, "Bob"), LabeledTurn(4.0, 6.5, "Ánna"))


def test_a_file_for_several_recordings_tells_of_the_one_that_it_is_named_after(tmp_path: Path) -> None:
    file = tmp_path / "talk.rttm"
    file.write_text(LINE.format(0, 1, "A") + LINE.replace("talk", "other").format(2, 1, "B"))
    assert read_rttm(file) == (LabeledTurn(0, 1, "A"),)
    moved = file.rename(tmp_path / "third.rttm")
    with pytest.raises(InvalidReferenceFile, match="no SPEAKER lines"):
        read_rttm(moved)


@pytest.mark.parametrize(
    "line",
    [
        "SPEAKER\n",
        "SPEAKER talk 1 0.0\n",
        LINE.format("x", 1, "A"),
        LINE.format("nan", 1, "A"),
        LINE.format(0, -1, "A"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "a.rttm"
    file.write_text(LINE.format(0, 1, "A") + line)
    with pytest.raises(InvalidReferenceFile, match="line 2"):
        read_rttm(file)


def test_an_empty_file_and_none(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("")
    for name in ("a.rttm", "b.rttm"):
        with pytest.raises(InvalidReferenceFile):
            read_rttm(tmp_path / name)

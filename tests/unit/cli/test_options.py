from __future__ import annotations

import io
import sys

import pytest

from echoic.cli.options import print_table

ID, COMMAND = "0123456789ab", "pip install 'echoic[nemo]' " * 6
FOLDER = "/a/folder" * 20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


def printed() -> str:
    print_table(("Id", "Command", "Where"), [(ID, COMMAND, FOLDER)], unbroken=("Id",))
    assert isinstance(sys.stdout, io.StringIO)
    return sys.stdout.getvalue()


def test_a_pipe_gets_each_row_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    heading, row = printed().splitlines()
    assert heading.split() == ["Id", "Command", "Where"]
    assert row.rstrip() == f"{ID}  {COMMAND}  {FOLDER}"


def test_a_terminal_gets_everything_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    text = printed()
    assert max(map(len, text.splitlines())) <= 80
    assert ID in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    letters = sorted("".join(text.split()))
    assert letters == sorted("".join(f"IdCommandWhere{ID}{COMMAND}{FOLDER}".split()))


def test_marks_of_markup_stand_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_table(("A",), [("echoic[red]",)])
    assert "echoic[red]" in out.getvalue()

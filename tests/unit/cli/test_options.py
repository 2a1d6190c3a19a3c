from __future__ import annotations

import io
import sys

import pytest

from echoic.cli.options import StreamOptions, print_error, print_table

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


def print_rows() -> str:
    print_table(("Id", "Command", "Where"), [(ID, COMMAND, FOLDER)], unbroken=("Id",))
    assert isinstance(sys.stdout, io.StringIO)
    return sys.stdout.getvalue()


def test_a_pipe_gets_each_row_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    heading, row = print_rows().splitlines()
    assert heading.split() == ["Id", "Command", "Where"]
    assert row.rstrip() == f"{ID}  {COMMAND}  {FOLDER}"


def test_a_terminal_folds_cells_and_truncates_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    text = print_rows()
    assert max(map(len, text.splitlines())) <= 80
    assert ID in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    letters = sorted("".join(text.split()))
    assert letters == sorted("".join(f"IdCommandWhere{ID}{COMMAND}{FOLDER}".split()))


def test_markup_is_printed_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    print_table(("A",), [("echoic[red]",)])
    assert "echoic[red]" in out.getvalue()


def test_only_requested_options_are_in_the_config() -> None:
    assert StreamOptions().to_config(with_word_times=False) == {}
    options = StreamOptions(model="scripted", language="en", insights=True)
    assert options.to_config(with_word_times=True, enable_partial=False) == {
        "model": "scripted",
        "language": "en",
        "word_timestamps": True,
        "insights": {"enabled": True},
        "enable_partial": False,
    }


def test_diarization_requests_word_times() -> None:
    config = StreamOptions(speakers=2).to_config(with_word_times=False)
    assert config == {"word_timestamps": True, "diarization": {"enabled": True, "num_speakers": 2}}
    assert StreamOptions(diarize=True).to_config(with_word_times=False)["diarization"] == {"enabled": True}


def test_errors_contain_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a\x1b[31mb\x07")
    assert capsys.readouterr().err == "echoic: a[31mb\n"

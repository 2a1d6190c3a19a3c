from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.cli import demo
from support.command_line import run_command

if TYPE_CHECKING:
    import pytest


def test_a_missing_recording_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_demo_recording", lambda: None)
    done = run_command("demo")
    assert done.exit_code == 1
    assert "pip install" in done.stderr


def test_the_demo_prints_the_transcript_and_the_delays() -> None:
    status, out, err = run_command("demo", "--seconds", "4", "--speed", "100")
    assert status == 0, err
    assert "\nTranscript\n" in out
    assert "delay from the last sample" in out

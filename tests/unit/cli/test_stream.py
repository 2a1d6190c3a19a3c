"""``echoic stream`` in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.command_line import WORDS, run_command, run_fake_server_thread

if TYPE_CHECKING:
    from pathlib import Path

    from support.fake_server import FakePeer

FAST = ("--model", "scripted", "--speed", "100")


def test_stdout_gets_a_line_for_each_final(scripted_server: str, recording: Path) -> None:
    status, out, err = run_command("stream", str(recording), "--url", scripted_server, *FAST)
    assert (status, err) == (0, "")
    assert out.split() == list(WORDS)
    assert len(out.splitlines()) > 1


def test_the_transcript_is_saved(scripted_server: str, recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "saved.srt"
    args = ("--url", scripted_server, *FAST, "--save", str(file))
    status, _, err = run_command("stream", str(recording), *args)
    assert (status, err) == (0, f"echoic: Saved to {file}.\n")
    assert file.read_text("utf-8").startswith("1\n00:00:00,000 --> ")


def test_no_server_says_how_to_start_one(recording: Path) -> None:
    status, out, err = run_command("stream", str(recording), "--url", "127.0.0.1:1")
    assert (status, out) == (1, "")
    assert "echoic serve" in err


@pytest.mark.parametrize(
    ("code", "detail", "hint"),
    [("unauthorized", {}, "--key KEY"), ("server_busy", {"retry_after": 7}, "Retry after 7 s.")],
)
def test_a_refusal_says_what_to_do(recording: Path, code: str, detail: dict[str, object], hint: str) -> None:
    async def refuse(peer: FakePeer) -> None:
        await peer.send({"type": "error", "code": code, "message": "Refused."} | detail)
        await peer.socket.close(1008)

    with run_fake_server_thread(refuse) as url:
        status, out, err = run_command("stream", str(recording), "--url", url, "--speed", "100")
    assert (status, out) == (1, "")
    assert err.startswith("echoic: Refused. ")
    assert hint in err


@pytest.mark.parametrize("command", [("stream",), ("transcribe", "--url", "127.0.0.1:1")])
def test_a_missing_file_is_a_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "none.wav"
    done = run_command(*command, str(file))
    assert done == (1, "", f"echoic: {file} cannot be opened: no such file or directory.\n")

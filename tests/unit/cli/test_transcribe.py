"""``echoic transcribe`` in this process."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from support.command_line import WORDS, run_command, run_fake_server_thread
from support.fake_server import build_final_json
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.fake_server import FakePeer

TEXT = " ".join(WORDS) + "\n"
SUBTITLE = "1\n00:00:00,000 --> 00:00:01,000\none\n"
PARTIAL_HINT = "The transcript up to this point was written.\n"
SCRIPTED = {"ECHOIC_SCRIPTED_ENGINE": "yes"}


def test_stdout_gets_the_text_and_nothing_else(scripted_server: str, recording: Path) -> None:
    done = run_command("transcribe", str(recording), "--url", scripted_server, "--model", "scripted")
    assert done == (0, TEXT, "")


@pytest.mark.parametrize("source", ["--config", "ECHOIC_CONFIG"])
def test_a_local_server_reads_a_settings_file(recording: Path, tmp_path: Path, source: str) -> None:
    file = tmp_path / "echoic.ini"
    file.write_text("[Server]\nscripted_engine = yes\n[Auth]\napi_key = s3cret\n", "utf-8")
    args, env = (("--config", str(file)), {}) if source == "--config" else ((), {source: str(file)})
    done = run_command("transcribe", str(recording), "--model", "scripted", *args, env=env)
    assert done == (0, TEXT, "")


def test_a_local_server_needs_no_key(recording: Path) -> None:
    env = SCRIPTED | {"ECHOIC_API_KEY": "s3cret"}
    assert run_command("transcribe", str(recording), "--model", "scripted", env=env) == (0, TEXT, "")


def test_a_missing_model_fails_unless_a_fallback_is_allowed(recording: Path, tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    command = ("transcribe", str(recording), "--model", "parakeet-onnx")
    status, out, err = run_command(*command, env=env)
    assert (status, out) == (1, "")
    assert "parakeet-onnx" in err
    assert "--fallback" in err
    status, _, err = run_command(*command, "--fallback", env=env)
    assert status == 0
    assert "is used instead" in err


def test_the_vocabulary_and_word_times_are_requested(recording: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text(f"{WORDS[0]}={WORDS[0].upper()}\n", "utf-8")
    args = ("--model", "scripted", "--vocabulary", str(words), "--speakers", "2", "-f", "json")
    status, out, err = run_command("transcribe", str(recording), *args, env=SCRIPTED)
    assert status == 0, err
    assert json.loads(out)["text"].split() == [WORDS[0].upper(), *WORDS[1:]]


def test_subtitles_cannot_hold_insights(recording: Path) -> None:
    status, out, err = run_command("transcribe", str(recording), "--insights", "-f", "srt")
    assert (status, out) == (2, "")
    assert "-f txt" in err


def test_several_subtitles_need_a_folder() -> None:
    done = run_command("transcribe", "-f", "srt", "a.wav", "b.wav")
    assert done.exit_code == 2
    assert "-o FOLDER" in done.stderr


def test_a_file_that_fails_does_not_stop_the_others(
    scripted_server: str, recording: Path, tmp_path: Path
) -> None:
    bad, folder = tmp_path / "bad.mp4", tmp_path / "out"
    bad.write_bytes(b"none")
    twin = tmp_path / "words.WAV"
    twin.write_bytes(recording.read_bytes())
    args = ("-f", "json", "-o", str(folder), "--url", scripted_server, "--model", "scripted")
    status, out, err = run_command("transcribe", str(bad), str(recording), str(twin), *args)
    assert status == 1
    assert err == f"echoic: {bad} is not an audio or video file.\n"
    assert out.split() == [str(folder / "words.wav.json"), str(folder / "words.WAV.json")]
    assert json.loads((folder / "words.wav.json").read_text("utf-8"))["text"] == TEXT.strip()


async def fail_at_the_end(peer: FakePeer) -> None:
    await peer.receive_samples_until("stop")
    await peer.send(build_final_json(1, "one"))
    message = "The last audio could not be decoded in time."
    await peer.send({"type": "error", "code": "internal_error", "message": message})
    await peer.socket.close(1011)


async def lose_the_connection(peer: FakePeer) -> None:
    await peer.receive_samples_until("stop")
    await peer.send(build_final_json(1, "one"))
    await asyncio.wait_for(await peer.socket.ping(), WAIT_SECONDS)
    peer.socket.transport.abort()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (fail_at_the_end, "The last audio could not be decoded in time."),
        (lose_the_connection, "The connection to the server was lost."),
    ],
)
def test_a_partial_transcript_is_written(
    recording: Path, tmp_path: Path, script: Callable[[FakePeer], Awaitable[None]], sentence: str
) -> None:
    message = f"echoic: {recording}: {sentence} {PARTIAL_HINT}"
    with run_fake_server_thread(script) as url:
        args = ("transcribe", str(recording), "--url", url, "-f", "srt")
        assert run_command(*args) == (1, SUBTITLE, message)
        assert run_command(*args, "-o", str(tmp_path)) == (1, f"{tmp_path / 'words.srt'}\n", message)
    assert (tmp_path / "words.srt").read_text("utf-8") == SUBTITLE


def test_an_older_file_is_kept_if_there_are_no_finals(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "words.srt").write_text("older", "utf-8")

    async def abort(peer: FakePeer) -> None:
        await peer.receive_samples_until("stop")
        peer.socket.transport.abort()

    with run_fake_server_thread(abort) as url:
        args = ("--url", url, "-f", "srt", "-o", str(tmp_path))
        status, out, err = run_command("transcribe", str(recording), *args)
    assert (status, out) == (1, "")
    assert err == f"echoic: {recording}: The connection to the server was lost.\n"
    assert (tmp_path / "words.srt").read_text("utf-8") == "older"

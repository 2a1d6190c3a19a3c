"""The commands against a real server, with the recogniser that hears what was drawn into the audio."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme
from websockets.sync.client import connect

from echoic.engines.scripted import VOCABULARY
from support.builders import write_recording
from support.server_process import STREAM_PATH, ServerProcess
from support.terminal import CliTerminal, build_environment
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = VOCABULARY[:12]


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with ServerProcess() as server:
        yield server.address


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A file of 4.8 s."""
    return write_recording(tmp_path / "words.wav", WORDS)


def start(*args: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "echoic.cli", *args]
    env = build_environment(**more)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def run(*args: str, **more: str) -> tuple[int, str, str]:
    process = start(*args, **more)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, out, err


def test_transcribe_prints_the_text_and_nothing_else(place: str, recording: Path) -> None:
    status, out, err = run("transcribe", str(recording), "--url", place, "--model", "scripted")
    assert (status, out, err) == (0, " ".join(WORDS) + "\n", "")


def test_transcribe_reads_the_file_of_settings_but_not_who_may(recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "echoic.ini"
    file.write_text("[Server]\nscripted_engine = yes\n[Auth]\napi_key = s3cret\n", "utf-8")
    for args, more in (("--config", str(file)), {}), ((), {"ECHOIC_CONFIG": str(file)}):
        status, out, err = run("transcribe", str(recording), "--model", "scripted", *args, **more)
        assert (status, out, err) == (0, " ".join(WORDS) + "\n", "")


def test_transcribe_by_a_model_that_was_named_and_cannot_be_had_fails(
    recording: Path, tmp_path: Path
) -> None:
    more = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    command = ("transcribe", str(recording), "--model", "parakeet-onnx")
    status, out, err = run(*command, **more)
    assert (status, out) == (1, "")
    assert "Its weights have not been downloaded." in err
    assert "--fallback" in err
    status, _, err = run(*command, "--fallback", **more)
    assert status == 0
    assert "is used instead" in err


def test_transcribe_without_a_server_says_the_same_and_needs_no_key(recording: Path) -> None:
    more = {"ECHOIC_SCRIPTED_ENGINE": "yes", "ECHOIC_API_KEY": "s3cret"}
    status, out, err = run("transcribe", str(recording), "--model", "scripted", **more)
    assert (status, out, err) == (0, " ".join(WORDS) + "\n", "")


def test_transcribe_writes_what_was_meant_and_goes_on_where_an_add_on_is_missing(
    recording: Path, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    words.write_text(f"{WORDS[0]}={WORDS[0].upper()}\n", "utf-8")
    args = ("--model", "scripted", "--vocabulary", str(words), "--speakers", "2", "-f", "json")
    status, out, err = run("transcribe", str(recording), *args, ECHOIC_SCRIPTED_ENGINE="yes")
    assert status == 0, err
    assert json.loads(out)["text"].split() == [WORDS[0].upper(), *WORDS[1:]]
    status, out, err = run("transcribe", str(recording), "--insights", "-f", "srt")
    assert (status, out) == (2, "")
    assert "-f txt" in err


def test_a_server_with_keys_is_told_how_it_is_given_one(recording: Path) -> None:
    with ServerProcess(api_key="s3cret") as server:
        place = server.address
        for command in ("stream", "transcribe"):
            status, out, err = run(command, str(recording), "--url", place)
            assert (status, out) == (1, "")
            assert err.endswith("This server needs an API key. The key: --key KEY, or ECHOIC_API_KEY.\n")


def test_one_file_that_fails_does_not_keep_the_others_from_being_done(
    place: str, recording: Path, tmp_path: Path
) -> None:
    bad, folder = tmp_path / "bad.mp4", tmp_path / "out"
    bad.write_bytes(b"none")
    twin = tmp_path / "words.WAV"
    twin.write_bytes(recording.read_bytes())
    files = (str(bad), str(recording), str(twin))
    status, out, err = run(
        "transcribe", *files, "-f", "json", "-o", str(folder), "--url", place, "--model", "scripted"
    )
    assert status == 1
    assert err == f"echoic: {bad} is not an audio or video file.\n"
    assert out.split() == [str(folder / "words.wav.json"), str(folder / "words.WAV.json")]
    assert json.loads((folder / "words.wav.json").read_text())["text"] == " ".join(WORDS)


def test_stream_prints_a_line_for_each_final(place: str, recording: Path) -> None:
    status, out, err = run("stream", str(recording), "--url", place, "--model", "scripted", "--speed", "8")
    assert (status, err) == (0, "")
    assert out.split() == list(WORDS)
    assert len(out.splitlines()) > 1


def test_models_of_a_running_server(place: str) -> None:
    status, out, _ = run("models", "--url", place, "--json")
    assert status == 0
    assert "scripted" in [row["id"] for row in json.loads(out)]


def test_no_server_says_how_to_start_one(recording: Path) -> None:
    status, out, err = run("stream", str(recording), "--url", "127.0.0.1:1")
    assert (status, out) == (1, "")
    assert "echoic serve" in err


def test_serve_greets_serves_and_stops_on_a_signal(recording: Path) -> None:
    more = {"ECHOIC_SCRIPTED_ENGINE": "yes", "ECHOIC_PRELOAD_MODEL": "scripted", "ECHOIC_API_KEY": "s3cret"}
    process = start("serve", "--port", "0", **more)
    try:
        assert process.stdout is not None
        place = next(found[1] for line in process.stdout if (found := re.search(r"ws://(\S+?)/", line)))
        args = ("transcribe", str(recording), "--url", place, "--model", "scripted")
        status, out, err = run(*args, ECHOIC_API_KEY="wrong")
        assert (status, out) == (1, "")
        assert "The API key is wrong." in err
        assert run(*args, ECHOIC_API_KEY="s3cret")[:2] == (0, " ".join(WORDS) + "\n")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
    assert "s3cret" not in out + err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of Unix")
class TestTerminal:
    def test_words_appear_while_they_are_spoken_and_stay(self, place: str, recording: Path) -> None:
        terminal = CliTerminal(
            "stream", str(recording), "--url", place, "--model", "scripted", "--speed", "4"
        )
        terminal.wait_for_text(WORDS[-1])
        assert terminal.wait_for_exit() == 0
        assert "\x1b[2;3m" in terminal.output  # what was dim and in motion
        assert all(word in terminal.output for word in WORDS)

    def test_ctrl_c_delivers_what_was_heard(self, place: str, tmp_path: Path) -> None:
        talk = str(write_recording(tmp_path / "talk.wav", [*WORDS, *["river"] * 100, "evening"]))
        terminal = CliTerminal("stream", talk, "--url", place, "--model", "scripted", "--speed", "2")
        terminal.wait_for_text(WORDS[2])
        terminal.write(b"\x03")
        assert terminal.wait_for_exit() == 130
        assert "evening" not in terminal.output
        assert "Traceback" not in terminal.output


def test_alive_finds_the_server_by_its_settings(place: str) -> None:
    port = place.rpartition(":")[2]
    assert run("alive", ECHOIC_PORT=port) == (0, "The server answers.\n", "")
    assert run("alive", ECHOIC_PORT="1") == (1, "", "echoic: No server answers on port 1.\n")
    assert run("alive", ECHOIC_PORT="none")[0] == 2


def test_alive_is_content_with_tls_and_with_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    trustme.CA().issue_cert("speech.example.org").private_key_and_cert_chain_pem.write_to_path(file)
    with ServerProcess(tls_cert_file=str(file), allowed_addresses="192.0.2.7") as server:
        port = server.address.rpartition(":")[2]
        assert run("alive", ECHOIC_PORT=port, ECHOIC_TLS_CERT_FILE=str(file))[0] == 0
        assert run("alive", ECHOIC_PORT=port)[0] == 1


def test_a_full_servers_advice_is_told(recording: Path) -> None:
    with ServerProcess(max_sessions="1", retry_after_seconds="7") as server:
        place = server.address
        with connect(f"ws://{place}{STREAM_PATH}") as first:
            first.send('{"type":"config","model":"scripted"}')
            first.recv()
            code, _, err = run("stream", str(recording), "--url", place, "--model", "scripted")
    assert code == 1
    assert err.endswith("Please try again later. It advises to wait 7 s.\n")

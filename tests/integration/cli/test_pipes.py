"""``echoic listen`` with redirected, closed and broken standard streams."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from echoic.engines.scripted import draw_words
from support.command_line import WORDS, encode_samples
from support.server_process import ServerProcess, run_restartable_server
from support.terminal import build_environment, start_command
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")

SAMPLES = encode_samples(draw_words(WORDS))
SCRIPTED = ("--model", "scripted")


def run_redirected(redirections: str, server: str, folder: Path) -> tuple[int, str]:
    """Run ``listen -`` on the words in a shell with redirections; return the status and stderr."""
    file = folder / "words.raw"
    file.write_bytes(SAMPLES)
    options = f"listen - --url {server} {' '.join(SCRIPTED)}"
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m echoic.cli {options} <"{file}" {redirections}'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=build_environment(),
        timeout=WAIT_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    ("redirections", "sentence"),
    [
        ("<&-", "Standard input is closed"),
        ("0>/dev/null", "Standard input cannot be read: bad file descriptor."),
        (">/dev/full", "The transcript cannot be written: no space left on device."),
    ],
)
def test_an_unusable_stream_is_a_sentence(
    scripted_server: str, tmp_path: Path, redirections: str, sentence: str
) -> None:
    status, err = run_redirected(redirections, scripted_server, tmp_path)
    assert status != 0
    assert sentence in err
    assert "Traceback" not in err


def test_without_stdout_the_transcript_is_saved(scripted_server: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.txt"
    done = run_redirected(f"--save {file} >&-", scripted_server, tmp_path)
    assert done == (0, f"echoic: Saved to {file}.\n")
    assert file.read_text("utf-8") == " ".join(WORDS) + "\n"


def test_a_reader_that_exits_ends_the_command(scripted_server: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.txt"
    command = ("listen", "-", "--url", scripted_server, *SCRIPTED, "--save", str(file))
    with start_command(*command) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(encode_samples(draw_words(["one"] * 6)))
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"one")
        process.stdout.close()
        process.stdin.write(encode_samples(draw_words(["two"] * 20)))
        process.stdin.close()
        err = process.stderr.read().decode()
    assert "Traceback" not in err
    assert "Exception" not in err
    assert file.read_text("utf-8").startswith("one one")


def test_a_lost_and_a_restored_connection_are_reported() -> None:
    with (
        run_restartable_server(resume_seconds="300") as server,
        start_command("listen", "-", "--url", server.address, *SCRIPTED) as process,
    ):
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(SAMPLES)
        process.stdin.flush()
        first = process.stdout.readline()
        server.kill()
        lost = process.stderr.readline().decode()
        server.start()
        restored = process.stderr.readline().decode()
        process.stdin.close()
        rest, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, (first + rest).decode().split(), err) == (0, list(WORDS), b"")
    assert lost.startswith("echoic: Connection lost. ")
    assert restored == "echoic: Connection restored.\n"


def test_the_finals_of_a_dead_server_are_saved(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    with ServerProcess(resume_seconds="0") as server:
        command = ("listen", "-", "--url", server.address, *SCRIPTED, "--save", str(file))
        with start_command(*command) as process:
            assert process.stdin
            assert process.stdout
            assert process.stderr
            process.stdin.write(SAMPLES)
            process.stdin.flush()
            first = process.stdout.readline().decode()
            server.process.kill()
            err = process.stderr.read().decode()
    assert process.returncode == 1
    assert "was lost" in err
    assert file.read_text("utf-8").startswith(first.rstrip())

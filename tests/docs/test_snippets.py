"""Runs the Python programs in the documents, with the test server's port."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from support.programs import ROOT, run_program
from support.server_process import ServerProcess
from support.tiny_parakeet import TINY_PARAKEET_FOLDER, read_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENTED_ADDRESS = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server with the tiny Parakeet."""
    with ServerProcess(
        scripted_engine="no", parakeet_onnx_dir=str(TINY_PARAKEET_FOLDER), preload_model="parakeet"
    ) as server:
        yield server.address


def find_snippet(document: str, marker: str) -> str:
    """Return a document's first block of Python that contains ``marker``."""
    text = (ROOT / document).read_text("utf-8")
    blocks: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(code for code in blocks if marker in code)


def run_code(code: str, folder: Path) -> list[str]:
    """Run a program and return the lines that it prints."""
    program = folder / "snippet.py"
    program.write_text(code, "utf-8")
    done = run_program(program)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_readmes_websockets_client_is_answered(address: str, tmp_path: Path) -> None:
    code = find_snippet("README.md", "websockets.connect")
    assert DOCUMENTED_ADDRESS in code
    lines = run_code(code.replace(DOCUMENTED_ADDRESS, address), tmp_path)
    assert [ast.literal_eval(line)["type"] for line in lines] == ["warning", "status"]


def test_the_readmes_client_prints_the_transcript(address: str, tmp_path: Path) -> None:
    code = find_snippet("README.md", "from echoic.client import connect")
    assert DOCUMENTED_ADDRESS in code
    samples, text = read_recordings()[3]
    np.save(tmp_path / "samples.npy", samples)
    code = code.replace("np.zeros(8000, dtype=np.float32)", f"np.load({str(tmp_path / 'samples.npy')!r})")
    assert run_code(code.replace(DOCUMENTED_ADDRESS, address), tmp_path) == [text]


def build_client_program(marker: str, address: str) -> str:
    """Return a program of docs/client.md that transcribes a recording."""
    code = find_snippet("docs/client.md", marker)
    assert DOCUMENTED_ADDRESS in code
    assert "talk.mp4" in code
    recording = str(TINY_PARAKEET_FOLDER / "speech" / "texts-03.flac")
    return code.replace(DOCUMENTED_ADDRESS, address).replace("talk.mp4", recording)


def test_the_clients_first_program_prints_captions(address: str, tmp_path: Path) -> None:
    lines = run_code(build_client_program("match frame", address), tmp_path)
    assert any(line.startswith("… ") for line in lines)
    assert (
        " ".join(re.findall(r"^[\d.]+-[\d.]+ s: (.*)$", "\n".join(lines), re.MULTILINE))
        == read_recordings()[3][1]
    )


def test_the_clients_transcribe_prints_finals(address: str, tmp_path: Path) -> None:
    lines = run_code(build_client_program("await transcribe", address), tmp_path)
    assert " ".join(line.partition(" ")[2] for line in lines) == read_recordings()[3][1]


def test_the_blocking_client_prints_transcript_and_finals(address: str, tmp_path: Path) -> None:
    transcript, *finals = run_code(build_client_program("echoic.client.blocking", address), tmp_path)
    assert transcript == read_recordings()[3][1]
    assert " ".join(line.partition(" ")[2] for line in finals) == transcript


def test_the_librarys_first_program_prints_its_results(tmp_path: Path) -> None:
    partial, final, transcript = run_code(find_snippet("docs/library.md", "decode_fn"), tmp_path)
    assert ast.literal_eval(partial)["type"] == "partial"
    assert ast.literal_eval(final)["text"] == "hello"
    assert transcript == "hello"

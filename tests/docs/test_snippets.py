"""The programs in the documents run as they stand, but for the port."""

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

PORT_IN_THE_DOCUMENTS = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server whose Parakeet is the tiny one."""
    with ServerProcess(
        scripted_engine="no", parakeet_onnx_dir=str(TINY_PARAKEET_FOLDER), preload_model="parakeet"
    ) as server:
        yield server.address


def snippet(document: str, having: str) -> str:
    """Return the first piece of Python of a document that holds ``having``."""
    text = (ROOT / document).read_text("utf-8")
    pieces: list[str] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return next(code for code in pieces if having in code)


def output(code: str, folder: Path) -> list[str]:
    """Run a program and return the lines that it prints."""
    program = folder / "snippet.py"
    program.write_text(code, "utf-8")
    done = run_program(program)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_readmes_bare_client_is_answered(address: str, tmp_path: Path) -> None:
    code = snippet("README.md", "websockets.connect")
    assert PORT_IN_THE_DOCUMENTS in code
    lines = output(code.replace(PORT_IN_THE_DOCUMENTS, address), tmp_path)
    assert [ast.literal_eval(line)["type"] for line in lines] == ["warning", "status"]


def test_the_readmes_client_prints_what_was_said(address: str, tmp_path: Path) -> None:
    code = snippet("README.md", "from echoic.client import connect")
    assert PORT_IN_THE_DOCUMENTS in code
    samples, text = read_recordings()[3]
    np.save(tmp_path / "samples.npy", samples)
    code = code.replace("np.zeros(8000, dtype=np.float32)", f"np.load({str(tmp_path / 'samples.npy')!r})")
    assert output(code.replace(PORT_IN_THE_DOCUMENTS, address), tmp_path) == [text]


def from_the_clients_document(having: str, address: str) -> str:
    """Return a program of the client's document that hears a recording."""
    code = snippet("docs/client.md", having)
    assert PORT_IN_THE_DOCUMENTS in code
    assert "talk.mp4" in code
    recording = str(TINY_PARAKEET_FOLDER / "speech" / "texts-03.flac")
    return code.replace(PORT_IN_THE_DOCUMENTS, address).replace("talk.mp4", recording)


def test_the_clients_first_program_prints_captions(address: str, tmp_path: Path) -> None:
    lines = output(from_the_clients_document("match frame", address), tmp_path)
    assert any(line.startswith("… ") for line in lines)
    assert (
        " ".join(re.findall(r"^[\d.]+-[\d.]+ s: (.*)$", "\n".join(lines), re.MULTILINE))
        == read_recordings()[3][1]
    )


def test_the_clients_transcribe_prints_finals(address: str, tmp_path: Path) -> None:
    lines = output(from_the_clients_document("await transcribe", address), tmp_path)
    assert " ".join(line.partition(" ")[2] for line in lines) == read_recordings()[3][1]


def test_the_client_that_blocks_prints_the_transcript_and_the_finals(address: str, tmp_path: Path) -> None:
    transcript, *finals = output(from_the_clients_document("echoic.client.blocking", address), tmp_path)
    assert transcript == read_recordings()[3][1]
    assert " ".join(line.partition(" ")[2] for line in finals) == transcript


def test_the_librarys_first_program_prints_a_partial_a_final_and_the_transcript(tmp_path: Path) -> None:
    partial, final, transcript = output(snippet("docs/library.md", "decode_fn"), tmp_path)
    assert ast.literal_eval(partial)["type"] == "partial"
    assert ast.literal_eval(final)["text"] == "hello"
    assert transcript == "hello"

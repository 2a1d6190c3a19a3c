"""The protocol's example clients, to the letter but for the port, against a server without configuration."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = Path(__file__).parent / "clients"
PORT_IN_THE_EXAMPLES = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """A server with nothing set but a free port: the model that comes with the install."""
    with ServerProcess(scripted_engine="no", preload_model="") as server:
        yield server.address


def _printed_until(command: list[str], folder: Path, last: str) -> list[str]:
    """Return the lines that a client prints, up to the one that contains ``last``."""
    client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    seen: list[str] = []
    assert client.stdout is not None
    try:
        for line in client.stdout:
            seen.append(line)
            if last in line:
                break
    finally:
        client.kill()
        client.communicate()
    assert last in seen[-1], seen
    return seen


def _copy(name: str, place: str, folder: Path) -> Path:
    source = (CLIENTS / name).read_text()
    assert PORT_IN_THE_EXAMPLES in source
    client = folder / name
    client.write_text(source.replace(PORT_IN_THE_EXAMPLES, place))
    return client


def test_the_python_client_gets_a_warning_its_status_and_a_transcript(place: str, tmp_path: Path) -> None:
    client = _copy("python_client.py", place, tmp_path)
    seen = _printed_until([sys.executable, "-u", str(client)], tmp_path, "full_transcript")
    frames = [ast.literal_eval(line) for line in seen]
    assert [frame["code"] for frame in frames if frame["type"] == "warning"] == ["model_fallback"]
    frames = [frame for frame in frames if frame["type"] != "warning"]
    assert [frame["type"] for frame in frames] == ["status", "full_transcript"]
    assert frames[0]["state"] == "configured"
    assert frames[0]["model_variant"] == "onnx"
    assert frames[-1]["text"] == "", "half a second of silence has no words"


def test_the_node_client_gets_its_status_and_a_transcript(place: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    modules = CLIENTS / "node_modules"
    if node is None or not modules.is_dir():
        pytest.skip("node and its ws package are needed: make test installs ws where npm is")
    client = _copy("node_client.js", place, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    seen = "".join(_printed_until([node, str(client)], tmp_path, "full_transcript"))
    assert "configured" in seen


def test_the_library_example_prints_a_partial_and_a_final(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CLIENTS / "library.py")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    partial, final = done.stdout.splitlines()
    assert "'type': 'partial'" in partial
    assert "'segment_end': 1.5" in partial
    assert "'type': 'final'" in final
    assert "'text': 'hello'" in final

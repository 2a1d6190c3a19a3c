"""Runs the protocol's example clients, unchanged but for the port, with an unconfigured server."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server_process import ServerProcess

CLIENTS = Path(__file__).parent / "clients"
EXAMPLE_ADDRESS = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    """Run a server that sets only a free port: it uses the embedded model."""
    with ServerProcess(scripted_engine="no", preload_model="") as server:
        yield server.address


def _read_lines_until(command: list[str], folder: Path, last: str) -> list[str]:
    """Return the lines that a client prints, up to one that contains ``last``."""
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


def _copy_client(name: str, server_address: str, folder: Path) -> Path:
    source = (CLIENTS / name).read_text()
    assert EXAMPLE_ADDRESS in source
    client = folder / name
    client.write_text(source.replace(EXAMPLE_ADDRESS, server_address))
    return client


def test_the_python_client_gets_a_transcript(server_address: str, tmp_path: Path) -> None:
    client = _copy_client("python_client.py", server_address, tmp_path)
    seen = _read_lines_until([sys.executable, "-u", str(client)], tmp_path, "full_transcript")
    frames = [ast.literal_eval(line) for line in seen]
    assert [frame["code"] for frame in frames if frame["type"] == "warning"] == ["model_fallback"]
    frames = [frame for frame in frames if frame["type"] != "warning"]
    assert [frame["type"] for frame in frames] == ["status", "full_transcript"]
    assert frames[0]["state"] == "configured"
    assert frames[0]["model_variant"] == "onnx"
    assert frames[-1]["text"] == "", "half a second of silence has no words"


def test_the_node_client_gets_a_transcript(server_address: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    modules = CLIENTS / "node_modules"
    if node is None or not modules.is_dir():
        pytest.skip("node and its ws package are needed: make test installs ws where npm is")
    client = _copy_client("node_client.js", server_address, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    seen = "".join(_read_lines_until([node, str(client)], tmp_path, "full_transcript"))
    assert "configured" in seen


def test_the_library_example_prints_partial_and_final(tmp_path: Path) -> None:
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

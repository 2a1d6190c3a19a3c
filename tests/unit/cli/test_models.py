from __future__ import annotations

import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from echoic.cli.models import _render_cells, fetch_models
from echoic.client import ServerError
from support.command_line import run_command
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_the_models_of_this_machine_are_listed() -> None:
    done = run_command("models")
    assert done.exit_code == 0
    assert "parakeet-onnx" in done.stdout
    rows = json.loads(run_command("models", "--json").stdout)
    keys = {"id", "model", "variant", "available", "reason", "install", "word_timestamps", "languages"}
    assert keys | {"where", "size", "quantizations"} == rows[0].keys()


def test_a_model_has_a_folder_a_size_and_quantizations() -> None:
    env = {"ECHOIC_PARAKEET_ONNX_DIR": str(TINY_PARAKEET_FOLDER)}
    rows = json.loads(run_command("models", "--json", env=env).stdout)
    row = next(row for row in rows if row["id"] == "parakeet-onnx")
    assert (row["where"], row["quantizations"]) == (str(TINY_PARAKEET_FOLDER), ["fp16"])
    assert row["size"] > 5_000_000
    assert re.search(r"parakeet-onnx +there +\d+ MiB +fp16", run_command("models", env=env).stdout)


def test_a_loaded_model_of_a_server_is_marked() -> None:
    row: dict[str, object] = {"id": "x", "available": True, "loaded": True, "reason": None}
    assert _render_cells(row)[0] == ("loaded", "green")


def test_the_models_of_a_server_are_listed(scripted_server: str) -> None:
    status, out, _ = run_command("models", "--url", scripted_server, "--json")
    assert status == 0
    assert "scripted" in [row["id"] for row in json.loads(out)]


def test_a_server_that_does_not_answer_is_a_sentence() -> None:
    done = run_command("models", "--url", "127.0.0.1:1")
    assert done.exit_code == 1
    assert "No echoic server answers" in done.stderr


@contextmanager
def serve_body(status: int, body: bytes) -> Iterator[str]:
    """Answer every GET request on a free loopback port; yield ``host:port``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # called by name
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [(404, b"", "HTTP 404"), (200, b"<html>", "not an echoic server"), (200, b"[]", "not an echoic server")],
)
def test_another_program_is_not_an_echoic_server(status: int, body: bytes, sentence: str) -> None:
    with serve_body(status, body) as address, pytest.raises(ServerError, match=sentence):
        fetch_models(address, None)

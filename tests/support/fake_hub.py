"""A model hub on loopback, with the interface of https://huggingface.co/docs/hub/api, and its fixtures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from echoic.engines.store.catalogue import MODEL_SOURCES
from echoic.engines.store.download import DownloadOptions, download_model
from echoic.engines.store.hub import Hub
from support.timing import WAIT_SECONDS
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

REVISION = "0123abcd" * 5
ENCODER_FILE, JOINT_FILE = "encoder-model.int8.onnx", "decoder_joint-model.onnx"


def read_tiny_files() -> dict[str, bytes]:
    """Return the files of the tiny Parakeet, named like a published export."""
    return {
        ENCODER_FILE: (TINY_PARAKEET_FOLDER / "encoder-model.fp16.onnx").read_bytes(),
        JOINT_FILE: (TINY_PARAKEET_FOLDER / "decoder_joint-model.fp16.onnx").read_bytes(),
        "vocab.txt": (TINY_PARAKEET_FOLDER / "vocab.txt").read_bytes(),
        "config.json": (TINY_PARAKEET_FOLDER / "config.json").read_bytes(),
        "README.md": b"#",
    }


@dataclass
class FakeHub:
    """Serves one repository; can truncate, corrupt and refuse files, and records the requests."""

    repository: str
    files: dict[str, bytes] = field(default_factory=read_tiny_files)
    #: Requests for files: name and first byte.
    file_requests: list[tuple[str, int]] = field(default_factory=list)
    #: The byte of each file at which every response ends.
    cut_at: int | None = None
    #: The maximum of bytes of a file in one response.
    max_bytes: int | None = None
    corrupted_files: set[str] = field(default_factory=set)
    #: Wrong sizes in the listing, by file.
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    supports_ranges: bool = True
    listing: bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    required_key: str | None = None
    #: The address that requests for files are redirected to.
    redirect_address: str | None = None
    #: The ``Authorization`` headers of requests for files.
    received_keys: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer_request(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer_request(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        status, body, start = self.status, b"", 0
        if (
            self.required_key is not None
            and request.headers.get("Authorization") != f"Bearer {self.required_key}"
        ):
            status = 401
        elif path.startswith(f"/api/models/{self.repository}"):
            assert "blobs=True" in query or "blobs=true" in query
            body = self.listing or self.render_listing()
        elif self.redirect_address is not None:
            status = 302
        else:
            self.received_keys.append(request.headers.get("Authorization"))
            name = path.removeprefix(f"/{self.repository}/resolve/{REVISION}/")
            body = self.files[name][::-1] if name in self.corrupted_files else self.files[name]
            start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if self.supports_ranges else 0
            self.file_requests.append((name, start))
        self._send_response(request, 206 if start else status, body, start)

    def _send_response(self, request: BaseHTTPRequestHandler, status: int, body: bytes, start: int) -> None:
        request.send_response(status)
        for name, value in self.headers.items():
            request.send_header(name, value)
        if self.redirect_address is not None:
            request.send_header("Location", self.redirect_address + request.path)
        request.send_header("Content-Length", str(len(body) - start))
        request.send_header("Connection", "close")
        request.end_headers()
        ends = [len(body)]
        if "/resolve/" in request.path:
            ends += [] if self.cut_at is None else [max(self.cut_at, start)]
            ends += [] if self.max_bytes is None else [start + self.max_bytes]
        request.wfile.write(body[start : min(ends)])
        request.close_connection = True

    def render_listing(self) -> bytes:
        rows = [self.build_file_row(name, content) for name, content in self.files.items()]
        return json.dumps({"id": self.repository, "sha": REVISION, "siblings": rows}).encode()

    def build_file_row(self, name: str, content: bytes) -> dict[str, object]:
        size = self.claimed_sizes.get(name, len(content))
        row: dict[str, object] = {"rfilename": name, "size": size}
        if not name.endswith((".json", ".txt", ".md")):
            sha256 = hashlib.sha256(content).hexdigest()
            return row | {"blobId": "0", "lfs": {"sha256": sha256, "size": size, "pointerSize": 1}}
        head = b"blob %d\0" % len(content)
        return row | {"blobId": hashlib.sha1(head + content, usedforsecurity=False).hexdigest()}


#: The model that the fixture ``hub`` serves.
MODEL_NAME = "parakeet-tdt-0.6b-v3-onnx"


@pytest.fixture
def serve_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], FakeHub]]:
    """Serves the repository of a model by name; no key is set."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    hubs: list[FakeHub] = []

    def serve(name: str) -> FakeHub:
        hubs.append(FakeHub(MODEL_SOURCES[name].repository))
        return hubs[-1]

    yield serve
    for hub in hubs:
        hub.close()


@pytest.fixture
def hub(serve_hub: Callable[[str], FakeHub]) -> FakeHub:
    """Serves the repository of ``MODEL_NAME``."""
    return serve_hub(MODEL_NAME)


def download_from(hub: FakeHub, cache: Path, name: str = MODEL_NAME, **options: str) -> Path:
    """Download a model from a hub on loopback and return its folder."""
    return download_model(name, cache, Hub(hub.address, WAIT_SECONDS), DownloadOptions(**options))

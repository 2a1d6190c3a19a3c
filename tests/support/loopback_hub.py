"""A model hub on loopback, with the interface of https://huggingface.co/docs/hub/api."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from support.tiny_parakeet import FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping

REVISION = "0123abcd" * 5
ENCODER, JOINT = "encoder-model.int8.onnx", "decoder_joint-model.onnx"


def tiny_files() -> dict[str, bytes]:
    """The tiny Parakeet as if it were a published export."""
    return {
        ENCODER: (FOLDER / "encoder-model.fp16.onnx").read_bytes(),
        JOINT: (FOLDER / "decoder_joint-model.fp16.onnx").read_bytes(),
        "vocab.txt": (FOLDER / "vocab.txt").read_bytes(),
        "config.json": (FOLDER / "config.json").read_bytes(),
        "README.md": b"#",
    }


@dataclass
class LoopbackHub:
    """Serves one repository; can cut off, spoil, refuse, and keeps what it was asked for."""

    repository: str
    files: dict[str, bytes] = field(default_factory=tiny_files)
    #: What was asked for: a file's name and the byte it was to begin at.
    sent: list[tuple[str, int]] = field(default_factory=list)
    #: The byte of each file after which every answer ends.
    cut_at: int | None = None
    #: The most bytes of a file that one answer brings.
    most: int | None = None
    spoilt: set[str] = field(default_factory=set)
    #: Sizes that are not those of the files.
    claims: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    listing: bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    #: The address that files are really at.
    elsewhere: str | None = None
    #: The keys that came with questions for files.
    keys: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

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

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        status, body, start = self.status, b"", 0
        if self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}":
            status = 401
        elif path.startswith(f"/api/models/{self.repository}"):
            assert "blobs=True" in query or "blobs=true" in query
            body = self.listing or self.list_files()
        elif self.elsewhere is not None:
            status = 302
        else:
            self.keys.append(request.headers.get("Authorization"))
            name = path.removeprefix(f"/{self.repository}/resolve/{REVISION}/")
            body = self.files[name][::-1] if name in self.spoilt else self.files[name]
            start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if self.ranges else 0
            self.sent.append((name, start))
        self._send(request, 206 if start else status, body, start)

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, start: int) -> None:
        request.send_response(status)
        for name, value in self.headers.items():
            request.send_header(name, value)
        if self.elsewhere is not None:
            request.send_header("Location", self.elsewhere + request.path)
        request.send_header("Content-Length", str(len(body) - start))
        request.send_header("Connection", "close")
        request.end_headers()
        ends = [len(body)]
        if "/resolve/" in request.path:
            ends += [] if self.cut_at is None else [max(self.cut_at, start)]
            ends += [] if self.most is None else [start + self.most]
        request.wfile.write(body[start : min(ends)])
        request.close_connection = True

    def list_files(self) -> bytes:
        rows = [self.row(name, content) for name, content in self.files.items()]
        return json.dumps({"id": self.repository, "sha": REVISION, "siblings": rows}).encode()

    def row(self, name: str, content: bytes) -> dict[str, object]:
        size = self.claims.get(name, len(content))
        row: dict[str, object] = {"rfilename": name, "size": size}
        if not name.endswith((".json", ".txt", ".md")):
            sha256 = hashlib.sha256(content).hexdigest()
            return row | {"blobId": "0", "lfs": {"sha256": sha256, "size": size, "pointerSize": 1}}
        head = b"blob %d\0" % len(content)
        return row | {"blobId": hashlib.sha1(head + content, usedforsecurity=False).hexdigest()}

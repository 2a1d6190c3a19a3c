from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from echoic.cli import app
from echoic.engines.parakeet_onnx import ParakeetOnnx
from echoic.engines.weights import SOURCES, Hub, fetch_model, find_model, user_cache
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "parakeet-tdt-0.6b-v3-onnx"
REVISION = "0123abcd"
ENCODER, JOINT = "encoder-model.int8.onnx", "decoder_joint-model.onnx"


class Shelf:
    """A hub on loopback that holds the tiny Parakeet under the large one's name."""

    def __init__(self) -> None:
        self.files = {
            ENCODER: (FOLDER / "encoder-model.fp16.onnx").read_bytes(),
            JOINT: (FOLDER / "decoder_joint-model.fp16.onnx").read_bytes(),
            "vocab.txt": (FOLDER / "vocab.txt").read_bytes(),
            "config.json": (FOLDER / "config.json").read_bytes(),
            "README.md": b"#",
        }
        self.sent: list[tuple[str, int]] = []
        self.cut_after: int | None = None
        self.spoilt: set[str] = set()
        self.ranges = True
        self.listing: bytes | None = None
        self.status = 200
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shelf.answer(self)

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
        repository = SOURCES[NAME]
        if request.path == f"/api/models/{repository}?blobs=true":
            body, start = self.listing or self.list_files(), 0
        else:
            name = request.path.removeprefix(f"/{repository}/resolve/{REVISION}/")
            body = self.files[name][::-1] if name in self.spoilt else self.files[name]
            start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if self.ranges else 0
            self.sent.append((name, start))
        rest = body[start:]
        request.send_response(206 if start else self.status)
        request.send_header("Content-Length", str(len(rest)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(rest[: self.cut_after])
        request.close_connection = True

    def list_files(self) -> bytes:
        rows = [row_of(name, content) for name, content in self.files.items()]
        return json.dumps({"sha": REVISION, "siblings": rows}).encode()


def row_of(name: str, content: bytes) -> dict[str, object]:
    row: dict[str, object] = {"rfilename": name, "size": len(content)}
    if name.endswith(".onnx"):
        return row | {"blobId": "0", "lfs": {"sha256": hashlib.sha256(content).hexdigest()}}
    head = b"blob %d\0" % len(content)
    return row | {"blobId": hashlib.sha1(head + content, usedforsecurity=False).hexdigest()}


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    opened = Shelf()
    yield opened
    opened.close()


def fetch(shelf: Shelf, cache: Path) -> Path:
    return fetch_model(NAME, cache, Hub(shelf.address, timeout=5))


def test_a_model_is_fetched_by_name_and_can_be_loaded(shelf: Shelf, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    hub = Hub(shelf.address, timeout=5)
    assert find_model(tmp_path) is None
    folder = fetch_model(NAME, tmp_path, hub, progress=lambda *one: told.append(one))
    assert folder == tmp_path / NAME == find_model(tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == sorted(set(shelf.files) - {"README.md"})
    assert shelf.sent[-1][0] == ENCODER
    assert told[-1] == (ENCODER, len(shelf.files[ENCODER]), len(shelf.files[ENCODER]))
    assert ParakeetOnnx(folder).needs.times


def test_what_is_there_is_not_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    fetch(shelf, tmp_path)
    shelf.sent.clear()
    fetch(shelf, tmp_path)
    assert shelf.sent == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_transfer_that_was_cut_off_goes_on(shelf: Shelf, tmp_path: Path, *, ranges: bool) -> None:
    shelf.cut_after = 100_000
    with pytest.raises(ModelUnavailable, match="kept, and used the next time") as refused:
        fetch(shelf, tmp_path)
    assert refused.value.install == f"echoic models get {NAME}"
    assert find_model(tmp_path) is None
    shelf.cut_after, shelf.ranges = None, ranges
    fetch(shelf, tmp_path)
    assert (JOINT, 100_000 if ranges else 0) in shelf.sent
    assert ParakeetOnnx(tmp_path / NAME).needs.times


@pytest.mark.parametrize("name", [JOINT, "config.json"])
def test_a_wrong_checksum_throws_the_file_away(shelf: Shelf, tmp_path: Path, name: str) -> None:
    shelf.spoilt = {name}
    with pytest.raises(ModelUnavailable, match=f"The checksum of {name} is wrong"):
        fetch(shelf, tmp_path)
    assert find_model(tmp_path) is None
    shelf.spoilt = set()
    assert fetch(shelf, tmp_path) == find_model(tmp_path)


def test_files_that_belong_to_the_encoder_come_with_it(shelf: Shelf, tmp_path: Path) -> None:
    shelf.files |= {"encoder-model.onnx": b"graph", "encoder-model.onnx.data": b"weights"}
    folder = fetch_model(NAME, tmp_path, Hub(shelf.address, timeout=5), quantization="")
    assert (folder / "encoder-model.onnx.data").read_bytes() == b"weights"
    assert shelf.sent[-1][0] == "encoder-model.onnx"


def test_the_networks_that_decode_come_in_the_same_quantization_if_they_are_there(
    shelf: Shelf, tmp_path: Path
) -> None:
    shelf.files["decoder_joint-model.int8.onnx"] = b"small"
    names = {file.name for file in fetch(shelf, tmp_path).iterdir()}
    assert "decoder_joint-model.int8.onnx" in names
    assert JOINT not in names


def test_a_repository_without_a_file_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    del shelf.files["vocab.txt"]
    with pytest.raises(ModelUnavailable, match=r"has no file vocab\.txt"):
        fetch(shelf, tmp_path)


@pytest.mark.parametrize("listing", [b"<html>", b"[]", b'{"sha": "1", "siblings": [{"size": 1}]}'])
def test_an_answer_that_is_no_list_of_files_is_refused(shelf: Shelf, tmp_path: Path, listing: bytes) -> None:
    shelf.listing = listing
    with pytest.raises(ModelUnavailable, match="is not a list of files"):
        fetch(shelf, tmp_path)


def test_a_hub_that_answers_with_an_error_is_named_by_its_number(shelf: Shelf, tmp_path: Path) -> None:
    shelf.status = 503
    with pytest.raises(ModelUnavailable, match="answers 503"):
        fetch(shelf, tmp_path)


def test_a_hub_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        fetch_model(NAME, tmp_path, Hub("http://127.0.0.1:1"))


def test_offline_only_what_is_there_is_found(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="the hub may not be asked"):
        fetch_model(NAME, tmp_path, None)
    folder = fetch(shelf, tmp_path)
    assert fetch_model(NAME, tmp_path, None) == folder


def test_a_name_nobody_knows_is_refused_with_those_that_can_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"these can: parakeet-tdt-0\.6b-v3-onnx") as refused:
        fetch_model("parakeet-9", tmp_path, None)
    assert refused.value.install is None


def test_a_hub_has_an_address_of_http() -> None:
    with pytest.raises(ValueError, match="not an address of HTTP"):
        Hub("file:///etc")


@pytest.mark.parametrize(
    ("env", "platform", "place"),
    [
        ({"HOME": "/home/ann"}, "linux", "/home/ann/.cache/echoic/models"),
        ({"HOME": "/home/ann", "XDG_CACHE_HOME": "/c"}, "linux", "/c/echoic/models"),
        ({"HOME": "/Users/ann"}, "darwin", "/Users/ann/Library/Caches/echoic/models"),
        ({"HOME": "/u", "LOCALAPPDATA": "/u/Local"}, "win32", "/u/Local/echoic/models"),
    ],
)
def test_models_are_kept_in_the_users_cache(env: dict[str, str], platform: str, place: str) -> None:
    assert user_cache(env, platform) == Path(place)


def test_the_command_fetches_and_says_where(shelf: Shelf, tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    done = runner.invoke(app, ["models", "get", NAME, "--hub", shelf.address], env=env)
    assert (done.exit_code, done.stdout.strip()) == (0, str(tmp_path / NAME))
    assert f"{ENCODER}  7.0 of 7.0 MiB" in done.stderr
    rows = json.loads(runner.invoke(app, ["models", "--json"], env=env).stdout)
    assert next(row for row in rows if row["id"] == "parakeet-onnx")["available"]
    assert runner.invoke(app, ["models", "get", NAME, "--offline"], env=env).exit_code == 0


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    env = {"ECHOIC_MODELS_DIR": str(tmp_path)}
    runner = CliRunner()
    absent = runner.invoke(app, ["models", "get", NAME, "--offline"], env=env)
    assert absent.exit_code == 1
    assert f"To install it: echoic models get {NAME}" in absent.stderr
    assert runner.invoke(app, ["models", "get", NAME, "--hub", "ftp://x"], env=env).exit_code == 2

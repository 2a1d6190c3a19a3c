"""Where models' weights come from: a folder on this machine, or a model hub by name.

The hub speaks the HTTP interface of https://huggingface.co/docs/hub/api; any endpoint with it will do. Files
are fetched one after the other, resumed where a transfer was cut off, and get their name only when their
checksum is right; the encoder comes last, so a folder that has it has everything.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from echoic.engines.parakeet_files import CONFIG, ENCODER, JOINT, VOCABULARY
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: The hub's address unless another is set.
ENDPOINT = "https://huggingface.co"
#: Models that can be fetched, and their repositories on the hub: NVIDIA's weights (CC-BY-4.0), exported to
#: ONNX by the author of onnx-asr. The first is taken if several are there.
SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "parakeet-tdt-0.6b-v3-onnx": "istupakov/parakeet-tdt-0.6b-v3-onnx",
        "parakeet-tdt-0.6b-v2-onnx": "istupakov/parakeet-tdt-0.6b-v2-onnx",
    }
)
#: What is fetched of the encoder unless something else is asked for: a quarter of full precision.
QUANTIZATION = "int8"
#: Seconds without a byte after which a transfer is given up.
TIMEOUT = 30.0
_BLOCK = 2**20
_REST_FOLLOWS = 206


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub.

    Attributes:
        path: Its path in the repository.
        size: Bytes.
        digest: Its SHA-256 in hex, or for small files Git's SHA-1 of a blob.
    """

    path: str
    size: int
    digest: str


def user_cache(env: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the folder for this user's models.

    Args:
        env: The environment.
        platform: As ``sys.platform`` names it.
    """
    home = Path(env.get("HOME") or Path.home())
    if chosen := env.get("XDG_CACHE_HOME"):
        place = Path(chosen)
    elif platform == "win32":
        place = Path(env.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        place = home / "Library" / "Caches" if platform == "darwin" else home / ".cache"
    return place / "echoic" / "models"


def find_model(cache: Path, names: Iterable[str] = SOURCES) -> Path | None:
    """Return the folder of the first of these models that was fetched completely, or None."""
    for name in names:
        if any((cache / name).glob(f"{ENCODER}*.onnx")):
            return cache / name
    return None


class Hub:
    """A model hub.

    Args:
        endpoint: Its address.
        timeout: Seconds without a byte after which a transfer is given up.

    Raises:
        ValueError: The address is not one of HTTP.
    """

    def __init__(self, endpoint: str = ENDPOINT, timeout: float = TIMEOUT) -> None:
        if not endpoint.startswith(("https://", "http://")):
            raise ValueError(f"not an address of HTTP: {endpoint!r}")
        self._endpoint, self._timeout = endpoint.rstrip("/"), timeout

    def files(self, repository: str) -> tuple[str, tuple[RemoteFile, ...]]:
        """Return the repository's present revision and its files.

        Raises:
            OSError: It cannot be reached, or answers with an error.
            ValueError: Its answer is not a list of files.
        """
        with self._open(f"/api/models/{quote(repository)}?blobs=true", 0) as answer:
            body = json.load(answer)
        try:
            return str(body["sha"]), tuple(_remote(row) for row in body["siblings"])
        except (KeyError, TypeError):
            raise ValueError("not a list of files") from None

    def open(self, repository: str, revision: str, path: str, offset: int) -> IO[bytes]:
        """Open a file for reading; its ``status`` says whether it begins at ``offset`` (206) or at 0.

        Raises:
            OSError: It cannot be reached, or answers with an error.
        """
        return self._open(f"/{quote(repository)}/resolve/{quote(revision)}/{quote(path)}", offset)

    def _open(self, place: str, offset: int) -> IO[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        request = Request(self._endpoint + place, headers=headers)  # noqa: S310  # checked to be HTTP
        opened: IO[bytes] = urlopen(request, timeout=self._timeout)  # noqa: S310  # the same
        return opened


def fetch_model(
    name: str,
    cache: Path,
    hub: Hub | None,
    *,
    quantization: str = QUANTIZATION,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Path:
    """Fetch what is missing of a model and return its folder.

    Args:
        name: One of ``SOURCES``.
        cache: The folder for models.
        hub: Where from; None: it may not be asked.
        quantization: The encoder's: ``int8``, or empty for full precision.
        progress: Told of each block: the file's name, its bytes so far, and its size.

    Raises:
        ModelUnavailable: Nobody knows the name, the hub cannot be reached or has other files, a transfer was
            cut off, a checksum is wrong, or there is no room: which, and what to do.
    """
    repository = SOURCES.get(name)
    if repository is None:
        raise ModelUnavailable(name, f"It cannot be fetched by name; these can: {', '.join(SOURCES)}.")
    again = f"echoic models get {name}"
    if hub is None:
        return _fetched_before(name, cache, again)
    folder = cache / name
    try:
        revision, files = hub.files(repository)
        shelf = _Shelf(hub, repository, revision, progress)
        for file in _wanted(files, quantization):
            _fetch(shelf, file, folder)
    except _WrongFile as wrong:
        raise ModelUnavailable(name, wrong.reason, again) from wrong
    except HTTPError as refused:
        reason = f"The hub answers {refused.code} for {repository}."
        raise ModelUnavailable(name, reason, again) from refused
    except (OSError, HTTPException) as error:
        reason = "The hub cannot be reached, the transfer was cut off, or the files cannot be written"
        detail = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise ModelUnavailable(
            name, f"{reason}{detail}. What has come so far is kept, and used the next time.", again
        ) from error
    except ValueError as error:
        raise ModelUnavailable(name, "The hub's answer is not a list of files.", again) from error
    return folder


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A repository at one revision, and who is told of what comes from it."""

    hub: Hub
    repository: str
    revision: str
    progress: Callable[[str, int, int], object]

    def open(self, file: RemoteFile, offset: int) -> IO[bytes]:
        return self.hub.open(self.repository, self.revision, file.path, offset)


class _WrongFile(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _fetched_before(name: str, cache: Path, again: str) -> Path:
    folder = find_model(cache, (name,))
    if folder is None:
        raise ModelUnavailable(name, f"It is not in {cache}, and the hub may not be asked.", again)
    return folder


def _remote(row: Mapping[str, object]) -> RemoteFile:
    large = row.get("lfs")
    digest = large["sha256"] if isinstance(large, dict) else row["blobId"]
    size = row["size"]
    if not isinstance(size, int):
        raise TypeError("not a size")
    return RemoteFile(str(row["rfilename"]), size, str(digest))


def _wanted(files: Sequence[RemoteFile], quantization: str) -> list[RemoteFile]:
    """Return the files to fetch, the encoder itself last."""
    there = {file.path: file for file in files if len(PurePosixPath(file.path).parts) == 1}
    suffix = f".{quantization}.onnx" if quantization else ".onnx"
    joints = [JOINT + suffix, JOINT + ".onnx"]
    joint = next((path for path in joints if path in there), joints[0])
    stems = (joint, ENCODER + suffix)
    data = [path for path in there if path.startswith(tuple(stem + "." for stem in stems))]
    names = [
        VOCABULARY,
        CONFIG,
        *(f"{stem}_data" for stem in stems if f"{stem}_data" in there),
        *data,
        *stems,
    ]
    for missing in names:
        if missing not in there:
            raise _WrongFile(f"The repository on the hub has no file {missing}.")
    return [there[path] for path in names]


def _fetch(shelf: _Shelf, file: RemoteFile, folder: Path) -> None:
    target = folder / file.path
    if target.is_file() and target.stat().st_size == file.size:
        shelf.progress(file.path, file.size, file.size)
        return
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.path}.{file.digest[:12]}.part"
    if not part.exists() or part.stat().st_size != file.size:
        _transfer(shelf, file, part)
    if part.stat().st_size < file.size:
        raise ConnectionError("cut off")
    if not _is_right(part, file):
        part.unlink()
        raise _WrongFile(f"The checksum of {file.path} is wrong; the file was thrown away.")
    part.replace(target)


def _transfer(shelf: _Shelf, file: RemoteFile, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        have = 0
    with shelf.open(file, have) as source:
        if have and getattr(source, "status", None) != _REST_FOLLOWS:
            have = 0
        with part.open("ab" if have else "wb") as sink:
            while block := source.read(_BLOCK):
                sink.write(block)
                have += len(block)
                shelf.progress(file.path, have, file.size)


def _is_right(part: Path, file: RemoteFile) -> bool:
    by_sha256 = len(file.digest) == hashlib.sha256().digest_size * 2
    digest = hashlib.sha256() if by_sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with part.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == file.digest

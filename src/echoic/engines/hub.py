"""A model hub: what a repository holds, and its files, one after the other.

huggingface-hub speaks with it: addresses, keys, redirections, errors. The last step is ours, because that
library throws away what had come of a transfer that was cut off and compares sizes only: here a file goes on
where it stopped, and its checksum is compared. Why: docs/decisions/0012.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

#: The hub's address unless another is set.
ENDPOINT = "https://huggingface.co"
#: Seconds without a byte after which a transfer is given up.
TIMEOUT = 30.0
_BLOCK = 2**20
_REST_FOLLOWS, _UNAUTHORIZED = 206, 401
_CUT_OFF = "The hub cannot be reached, or the transfer was cut off."


class HubRefusal(Exception):
    """The hub cannot be asked, or did not give what it was asked for.

    Args:
        reason: A sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


@dataclass(frozen=True, slots=True)
class Shelf:
    """A repository at one revision.

    Attributes:
        repository: Its name.
        revision: The commit.
        files: What it holds, by path.
    """

    repository: str
    revision: str
    files: Mapping[str, RemoteFile]


class Hub:
    """A model hub with the interface of https://huggingface.co/docs/hub/api.

    A key is taken from where huggingface-hub looks for it: ``HF_TOKEN``, or what ``hf auth login`` kept. It
    is shown over https or to this machine only.

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
        self._key = None if _is_private(endpoint) else False  # None: the one that the library finds
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported

    def shelf(self, repository: str, revision: str | None = None) -> Shelf:
        """Return what a repository holds.

        Args:
            repository: Its name.
            revision: A commit, branch or tag; None: the newest.

        Raises:
            HubRefusal: It cannot be reached, or answers with an error, or not with a list of files.
        """
        from huggingface_hub import HfApi  # noqa: PLC0415  # only whoever fetches needs it

        with _refusals(repository):
            try:
                info = HfApi(self._endpoint, token=self._key).model_info(
                    repository, revision=revision, files_metadata=True, timeout=self._timeout
                )
                files = {row.rfilename: _remote(row) for row in info.siblings or ()}
            except (AttributeError, KeyError, TypeError, ValueError):
                raise HubRefusal("The hub's answer is not a list of files.") from None
        return Shelf(repository, str(info.sha), files)

    def fetch(self, shelf: Shelf, file: RemoteFile, part: Path, told: Callable[[int], object]) -> None:
        """Fetch a file, going on where an earlier transfer of it was cut off.

        Args:
            shelf: Where it stands.
            file: Which one.
            part: Where it goes to, not yet under its name; what is in it already is what had come.
            told: Called with the bytes that are there so far.

        Raises:
            HubRefusal: It could not be fetched, or its checksum is wrong.
            OSError: It cannot be written.
        """
        part.touch()
        if part.stat().st_size > file.size:
            part.write_bytes(b"")
        while (have := part.stat().st_size) < file.size:
            try:
                self._transfer(shelf, file, part, told)
            except HubRefusal:
                if part.stat().st_size <= have:  # an answer that brought something is worth another one
                    raise
        if not is_right(part, file.digest):
            part.unlink()
            raise HubRefusal(f"The checksum of {file.path} is wrong; the file was thrown away.")

    def _transfer(self, shelf: Shelf, file: RemoteFile, part: Path, told: Callable[[int], object]) -> None:
        """Append what one answer brings, or begin anew if the hub does not know parts of files."""
        have = part.stat().st_size
        with _refusals(shelf.repository), self._opened(shelf, file, have) as answer:
            resumes = have > 0 and answer.status_code == _REST_FOLLOWS
            have = have if resumes else 0
            with part.open("ab" if resumes else "wb") as sink:
                for block in answer.iter_bytes():
                    sink.write(block)
                    have += len(block)
                    told(have)
        if have != file.size:
            raise HubRefusal(_CUT_OFF)

    @contextmanager
    def _opened(self, shelf: Shelf, file: RemoteFile, offset: int) -> Iterator[Any]:
        """Open a file from ``offset`` on; the library leaves the key out where it is sent elsewhere."""
        from huggingface_hub import get_session, hf_hub_url  # noqa: PLC0415  # only whoever fetches needs it
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # noqa: PLC0415  # the same

        address = hf_hub_url(shelf.repository, file.path, revision=shelf.revision, endpoint=self._endpoint)
        headers = build_hf_headers(token=self._key, library_name="echoic") | {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with get_session().stream("GET", address, headers=headers, timeout=self._timeout) as answer:
            hf_raise_for_status(answer)
            yield answer


def _is_private(endpoint: str) -> bool:
    """Return whether nobody on the way to an address can read what is sent there."""
    address = urlsplit(endpoint)
    if address.scheme == "https" or address.hostname == "localhost":
        return True
    try:
        return ip_address(address.hostname or "").is_loopback
    except ValueError:
        return False


def is_right(path: Path, digest: str) -> bool:
    """Return whether a file has the digest that the hub names: SHA-256, or Git's SHA-1 of a blob."""
    by_sha256 = len(digest) == hashlib.sha256().digest_size * 2
    head = b"" if by_sha256 else b"blob %d\0" % path.stat().st_size
    found = hashlib.sha256() if by_sha256 else hashlib.sha1(head, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            found.update(block)
    return found.hexdigest() == digest


def _remote(row: Any) -> RemoteFile:  # noqa: ANN401  # of a library whose types changed over time
    digest = row.lfs.sha256 if row.lfs else row.blob_id
    if not isinstance(row.size, int) or not isinstance(digest, str):
        raise TypeError("without size or digest")
    return RemoteFile(row.rfilename, row.size, digest)


@contextmanager
def _refusals(repository: str) -> Iterator[None]:
    """Turn what the library and its network raise into refusals; errors of the disk pass."""
    from huggingface_hub import errors  # noqa: PLC0415  # only whoever fetches needs it

    # The errors of the network, whichever library stands below this release.
    networks = cast("tuple[type[Exception], ...]", errors.HfHubHTTPError.__bases__)
    try:
        yield
    except errors.GatedRepoError as error:
        reason = f"{repository} wants its terms accepted on its page on the hub, and then a key in HF_TOKEN."
        raise HubRefusal(reason) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubRefusal("HF_HUB_OFFLINE is set, so the hub may not be asked.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        reason = f"The hub answers {status} for {repository}."
        if isinstance(error, errors.RepositoryNotFoundError) or status == _UNAUTHORIZED:
            reason = (
                f"The hub has no repository {repository}, or shows it only to a key in HF_TOKEN (over https)."
            )
        raise HubRefusal(reason) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError):
            raise
        raise HubRefusal(_CUT_OFF) from error
    except networks as error:
        raise HubRefusal(_CUT_OFF) from error

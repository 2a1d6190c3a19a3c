"""Lists and downloads files of a model hub, with resumable transfers and verified checksums.

huggingface-hub handles addresses, keys, redirections and errors. The transfer itself is done here, because
that library discards an interrupted transfer and compares file sizes only (docs/decisions/0012).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

#: The default hub.
HUB_ENDPOINT = "https://huggingface.co"
#: Seconds without a byte after which a transfer fails.
HUB_TIMEOUT = 30.0
_BLOCK_BYTES = 2**20
_PARTIAL_CONTENT, _UNAUTHORIZED = 206, 401
_CONNECTION_LOST = "The hub cannot be reached, or the transfer was cut off."


class HubError(Exception):
    """The hub cannot be reached, or does not have the requested files.

    Args:
        reason: A sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub."""

    path: str
    """Its path in the repository."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256 in hex, or for small files the SHA-1 of Git's blob."""


@dataclass(frozen=True, slots=True)
class RepoSnapshot:
    """A repository at one revision."""

    repository: str
    revision: str
    """The commit."""
    files: Mapping[str, RemoteFile]
    """All files, by path."""


class Hub:
    """A model hub with the interface of https://huggingface.co/docs/hub/api.

    The key is huggingface-hub's: ``HF_TOKEN``, or the one that ``hf auth login`` saved. It is sent over https
    or to this machine only.

    Args:
        endpoint: The hub's address.
        timeout: Seconds without a byte after which a transfer fails.

    Raises:
        ValueError: The address is not an HTTP address.
    """

    def __init__(self, endpoint: str = HUB_ENDPOINT, timeout: float = HUB_TIMEOUT) -> None:
        if not endpoint.startswith(("https://", "http://")):
            raise ValueError(f"not an HTTP address: {endpoint!r}")
        self._endpoint, self._timeout = endpoint.rstrip("/"), timeout
        self._token = None if _is_confidential(endpoint) else False  # None: the library's
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library is imported

    def read_snapshot(self, repository: str, revision: str | None = None) -> RepoSnapshot:
        """Return the files of a repository.

        Args:
            repository: Its name.
            revision: A commit, branch or tag. None means the newest.

        Raises:
            HubError: The hub cannot be reached, answers with an error, or does not list files.
        """
        from huggingface_hub import HfApi  # noqa: PLC0415  # needed for downloads only

        with _translate_network_errors(repository):
            try:
                info = HfApi(self._endpoint, token=self._token).model_info(
                    repository, revision=revision, files_metadata=True, timeout=self._timeout
                )
                files = {row.rfilename: _parse_remote_file(row) for row in info.siblings or ()}
            except (AttributeError, KeyError, TypeError, ValueError):
                raise HubError("The hub's answer is not a list of files.") from None
        return RepoSnapshot(repository, str(info.sha), files)

    def download_file(
        self, snapshot: RepoSnapshot, file: RemoteFile, part_file: Path, on_progress: Callable[[int], object]
    ) -> None:
        """Download a file, resuming an earlier transfer.

        Args:
            snapshot: The repository.
            file: The file.
            part_file: The partial file to append to.
            on_progress: Called with the bytes so far.

        Raises:
            HubError: The transfer failed, or the checksum is wrong.
            OSError: The partial file cannot be written.
        """
        part_file.touch()
        if part_file.stat().st_size > file.size:
            part_file.write_bytes(b"")
        while (have := part_file.stat().st_size) < file.size:
            try:
                self._append_response(snapshot, file, part_file, on_progress)
            except HubError:
                if part_file.stat().st_size <= have:  # retry after every response that brought data
                    raise
        if not matches_digest(part_file, file.digest):
            part_file.unlink()
            raise HubError(f"The checksum of {file.path} is wrong; the file was deleted.")

    def _append_response(
        self, snapshot: RepoSnapshot, file: RemoteFile, part_file: Path, on_progress: Callable[[int], object]
    ) -> None:
        """Append one response, or start again if the hub ignores range requests."""
        have = part_file.stat().st_size
        with (
            _translate_network_errors(snapshot.repository),
            self._open_download(snapshot, file, have) as answer,
        ):
            resumes = have > 0 and answer.status_code == _PARTIAL_CONTENT
            have = have if resumes else 0
            with part_file.open("ab" if resumes else "wb") as sink:
                for block in answer.iter_bytes():
                    sink.write(block)
                    have += len(block)
                    on_progress(have)
        if have != file.size:
            raise HubError(_CONNECTION_LOST)

    @contextmanager
    def _open_download(self, snapshot: RepoSnapshot, file: RemoteFile, offset: int) -> Iterator[Any]:
        """Open a file at ``offset``; the library drops the key on redirects to other hosts."""
        from huggingface_hub import get_session, hf_hub_url  # noqa: PLC0415  # needed for downloads only
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # noqa: PLC0415  # needed for downloads only

        address = hf_hub_url(
            snapshot.repository, file.path, revision=snapshot.revision, endpoint=self._endpoint
        )
        headers = build_hf_headers(token=self._token, library_name="echoic") | {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with get_session().stream("GET", address, headers=headers, timeout=self._timeout) as answer:
            hf_raise_for_status(answer)
            yield answer


def _is_confidential(endpoint: str) -> bool:
    """Return whether a key may be sent to this address: over https, or to this machine."""
    address = urlsplit(endpoint)
    if address.scheme == "https" or address.hostname == "localhost":
        return True
    try:
        return ip_address(address.hostname or "").is_loopback
    except ValueError:
        return False


def matches_digest(path: Path, digest: str) -> bool:
    """Return whether a file has this digest: SHA-256, or the SHA-1 of Git's blob."""
    by_sha256 = len(digest) == hashlib.sha256().digest_size * 2
    head = b"" if by_sha256 else b"blob %d\0" % path.stat().st_size
    found = hashlib.sha256() if by_sha256 else hashlib.sha1(head, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest() == digest


def _parse_remote_file(row: Any) -> RemoteFile:  # noqa: ANN401  # the library's types changed over time
    digest = row.lfs.sha256 if row.lfs else row.blob_id
    if not isinstance(row.size, int) or not isinstance(digest, str):
        raise TypeError("without size or digest")
    return RemoteFile(row.rfilename, row.size, digest)


@contextmanager
def _translate_network_errors(repository: str) -> Iterator[None]:
    """Turn errors of the library and of the network into ``HubError``; errors of the disk pass."""
    from huggingface_hub import errors  # noqa: PLC0415  # needed for downloads only

    # The network errors of the HTTP library that this release uses.
    networks = cast("tuple[type[Exception], ...]", errors.HfHubHTTPError.__bases__)
    try:
        yield
    except errors.GatedRepoError as error:
        reason = (
            f"{repository} requires that you accept its terms on its page on the hub, and a key in HF_TOKEN."
        )
        raise HubError(reason) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError("HF_HUB_OFFLINE is set, so downloads are disabled.") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        reason = f"The hub answers {status} for {repository}."
        if isinstance(error, errors.RepositoryNotFoundError) or status == _UNAUTHORIZED:
            reason = (
                f"The hub has no repository {repository}, or shows it only to a key in HF_TOKEN (over https)."
            )
        raise HubError(reason) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError):
            raise
        raise HubError(_CONNECTION_LOST) from error
    except networks as error:
        raise HubError(_CONNECTION_LOST) from error

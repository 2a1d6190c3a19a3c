"""Fetching a model by its name: what is missing of it, into the folder for models.

What is there is checked, and all that is missing fetched first; then the files get their names, the weights
last. So a model that is there stays whole whenever a transfer is cut off, and only one process fetches it at
a time. What another revision has otherwise goes: a folder holds files of one revision.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from filelock import FileLock, Timeout

from echoic.engines.parakeet.onnx_files import CONFIG_FILE, VOCABULARY_FILE
from echoic.engines.store.cache import read_digests, write_source_record
from echoic.engines.store.catalogue import GRAPH_STEMS, ModelSource, resolve_source, select_files
from echoic.engines.store.hub import Hub, HubError, RemoteFile, RepoSnapshot, matches_digest
from echoic.errors import ModelUnavailable

#: What the name of a file ends in while it is not complete.
INCOMPLETE_SUFFIX = ".part"
_BYTES_PER_GIB = 2**30


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """What is to be fetched of a model.

    Attributes:
        quantization: Of graphs: a suffix such as ``int8``, empty for full precision, None: the usual one.
        revision: The commit, branch or tag to take; None: the newest.
    """

    quantization: str | None = None
    revision: str | None = None


def download_model(
    name: str,
    cache: Path,
    hub: Hub | None,
    options: DownloadOptions = DownloadOptions(),
    on_progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Path:
    """Fetch what is missing of a model and return its folder.

    Args:
        name: One of ``catalogue.SOURCES``.
        cache: The folder for models.
        hub: Where from; None: it may not be asked.
        options: What of it.
        on_progress: Told of each block: the file's name, its bytes so far, and its size; of one that is there,
            that it is being checked.

    Raises:
        ModelUnavailable: Nobody knows the name, the hub cannot be reached or has other files, a transfer was
            cut off, a checksum is wrong, or there is no room: which, and what to do. Without a hub: a file
            is missing or damaged.
    """
    source = resolve_source(name)
    folder = cache / source.name
    with _translate_errors(source, folder):
        if hub is None:
            _check_local_files(source, folder, options, on_progress)
            return folder
        shelf = hub.read_snapshot(source.repository, options.revision)
        wanted = [
            shelf.files[path] for path in select_files(source.model_format, shelf.files, options.quantization)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{source.name}.lock", timeout=0):
            _write_missing_config(folder, source.model_type, wanted)
            _download_files(hub, shelf, wanted, folder, on_progress)
            write_source_record(folder, source.name, shelf, wanted)
    return folder


def _download_files(
    hub: Hub,
    snapshot: RepoSnapshot,
    wanted: Sequence[RemoteFile],
    folder: Path,
    on_progress: Callable[[str, int, int], object],
) -> None:
    parts = {
        file: _to_part_path(folder, file) for file in wanted if not _is_downloaded(folder, file, on_progress)
    }
    _check_free_space(folder, parts)
    for file, part in parts.items():
        told = partial(_report_progress, on_progress, file)
        told(0)
        hub.download_file(snapshot, file, part, told)
        told(file.size)
    _remove_stale_files(folder, snapshot, wanted, parts)
    for file, part in parts.items():
        part.replace(folder / file.path)
    usable = {_to_part_path(folder, file) for file in snapshot.files.values()}
    for stale in set(folder.glob(f"*{INCOMPLETE_SUFFIX}")) - usable:
        stale.unlink()


def _remove_stale_files(
    folder: Path, snapshot: RepoSnapshot, wanted: Sequence[RemoteFile], changing: Iterable[RemoteFile]
) -> None:
    """Remove what does not belong to the revision on the shelf, and what was made here of it.

    Files that change go before the first new one gets its name, so that no moment sees a mixture.
    """
    before = {path: digest for path, digest in read_digests(folder).items() if path == PurePath(path).name}
    stale = {path for path, digest in before.items() if not _is_current(snapshot, path, digest)}
    stale.update(file.path for file in changing if (folder / file.path).exists())
    kept = {file.path for file in wanted}
    graphs = {graph.name for graph in folder.glob("*.onnx*") if graph.suffix != INCOMPLETE_SUFFIX}
    strays = graphs & snapshot.files.keys() - before.keys() - kept  # came here in another way
    stale.update(path for path in strays if not matches_digest(folder / path, snapshot.files[path].digest))
    made_here = graphs - snapshot.files.keys() - before.keys()
    for path in (*stale, *(made_here if stale else ())):
        (folder / path).unlink(missing_ok=True)


def _is_current(snapshot: RepoSnapshot, path: str, digest: str) -> bool:
    return path in snapshot.files and snapshot.files[path].digest == digest


def _check_local_files(
    source: ModelSource,
    folder: Path,
    options: DownloadOptions,
    on_progress: Callable[[str, int, int], object],
) -> None:
    """Look whether all that is ordered is there as it was fetched.

    Raises:
        HubRefusal: It is not.
    """
    known = read_digests(folder)
    there = {file.name for file in folder.glob("*") if file.is_file()}
    try:
        needed = select_files(source.model_format, sorted({*there, *known}), options.quantization)
    except LookupError:
        raise HubError(f"It is not in {folder}, and the hub may not be asked.") from None
    for path in {*needed, CONFIG_FILE} if source.model_format in GRAPH_STEMS else needed:
        file = folder / path
        if path not in there:
            raise HubError(f"There is no {path} in {folder}, and the hub may not be asked.")
        if path in known and not _verify_digest(file, known[path], on_progress):
            raise HubError(f"{file} is damaged, and the hub may not be asked.")


def _report_progress(
    on_progress: Callable[[str, int, int], object], file: RemoteFile, received_bytes: int
) -> None:
    on_progress(file.path, received_bytes, file.size)


def _to_part_path(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.path}.{file.digest[:12]}{INCOMPLETE_SUFFIX}"


def _is_downloaded(folder: Path, file: RemoteFile, on_progress: Callable[[str, int, int], object]) -> bool:
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return _verify_digest(path, file.digest, on_progress)


def _verify_digest(path: Path, digest: str, on_progress: Callable[[str, int, int], object]) -> bool:
    """Return whether a file that is there has the digest it should have."""
    name, size = f"checking {path.name}", path.stat().st_size
    on_progress(name, 0, size)
    right = matches_digest(path, digest)
    on_progress(name, size, size)
    return right


def _check_free_space(folder: Path, parts: Mapping[RemoteFile, Path]) -> None:
    """Look whether the disk has room for what is missing, before hours are spent on it.

    Raises:
        OSError: It has not.
    """
    have = sum(part.stat().st_size for part in parts.values() if part.exists())
    needed = sum(file.size for file in parts) - have
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, f"{needed / _BYTES_PER_GIB:.1f} GiB are needed")


def _write_missing_config(folder: Path, model_type: str, files: Iterable[RemoteFile]) -> None:
    """Write the ``config.json`` that some older repositories of graphs lack."""
    names = {file.path for file in files}
    if VOCABULARY_FILE in names and CONFIG_FILE not in names:
        (folder / CONFIG_FILE).write_text(json.dumps({"model_type": model_type}), "utf-8")


@contextmanager
def _translate_errors(source: ModelSource, folder: Path) -> Iterator[None]:
    """Turn what goes wrong into a refusal of the model, with what to do."""
    try:
        yield
    except (LookupError, HubError, OSError) as error:
        again = f"echoic models get {source.name}"
        raise ModelUnavailable(source.name, _render_error(error, folder), again) from error


def _render_error(error: Exception, folder: Path) -> str:
    match error:
        case HubError() if any(folder.glob(f"*{INCOMPLETE_SUFFIX}")):
            return f"{error.reason} What has come so far is kept, and used the next time."
        case HubError():
            return error.reason
        case Timeout():
            return "Another process is fetching it."
        case OSError(errno=errno.ENOSPC):
            free = shutil.disk_usage(folder).free / _BYTES_PER_GIB
            return f"There is no room for it in {folder}: {error.strerror}, {free:.1f} GiB are free."
        case OSError():
            return f"{folder} cannot be written: {error.strerror or 'unknown reason'}."
        case _:  # of a repository that holds something else
            return str(error.args[0])

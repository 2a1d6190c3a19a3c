"""Downloads models by name, atomically and resumably.

Existing files are verified, and missing ones downloaded to partial files. When all are complete they get
their names, the weights last: an interrupted download leaves an existing model intact. One process at a time
downloads a model. Files that the new revision changes are removed: a folder holds one revision.
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

#: Suffix of partial files.
INCOMPLETE_SUFFIX = ".part"
_BYTES_PER_GIB = 2**30


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """Selects the files of a model to download."""

    quantization: str | None = None
    """Suffix of ONNX graphs such as ``int8``; empty for float32, None for ``DEFAULT_QUANTIZATION``."""
    revision: str | None = None
    """A commit, branch or tag. None means the newest."""


def download_model(
    name: str,
    cache: Path,
    hub: Hub | None,
    options: DownloadOptions = DownloadOptions(),
    on_progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Path:
    """Download the missing files of a model and return its folder.

    Args:
        name: A key of ``catalogue.MODEL_SOURCES``.
        cache: The models folder.
        hub: The hub. If None, only the files in the folder are verified.
        options: Which files.
        on_progress: Called for each block with the file's name, the bytes so far, and its size; before and
            after a file is verified with ``checking NAME``.

    Raises:
        ModelUnavailable: The name is unknown, the hub cannot be reached or has other files, a transfer was
            interrupted, a checksum is wrong, or the disk is full; the error says what to do. Without a hub: a
            file is missing or damaged.
    """
    source = resolve_source(name)
    folder = cache / source.name
    with _translate_errors(source, folder):
        if hub is None:
            _check_local_files(source, folder, options, on_progress)
            return folder
        snapshot = hub.read_snapshot(source.repository, options.revision)
        wanted = [
            snapshot.files[path]
            for path in select_files(source.model_format, snapshot.files, options.quantization)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{source.name}.lock", timeout=0):
            _write_missing_config(folder, source.model_type, wanted)
            _download_files(hub, snapshot, wanted, folder, on_progress)
            write_source_record(folder, source.name, snapshot, wanted)
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
        report = partial(_report_progress, on_progress, file)
        report(0)
        hub.download_file(snapshot, file, part, report)
        report(file.size)
    _remove_stale_files(folder, snapshot, wanted, parts)
    for file, part in parts.items():
        part.replace(folder / file.path)
    usable = {_to_part_path(folder, file) for file in snapshot.files.values()}
    for stale in set(folder.glob(f"*{INCOMPLETE_SUFFIX}")) - usable:
        stale.unlink()


def _remove_stale_files(
    folder: Path, snapshot: RepoSnapshot, wanted: Sequence[RemoteFile], changing: Iterable[RemoteFile]
) -> None:
    """Remove files that the snapshot changes, and the optimized files that were made from them.

    That happens before the first new file gets its name, so the folder never mixes revisions.
    """
    before = {path: digest for path, digest in read_digests(folder).items() if path == PurePath(path).name}
    stale = {path for path, digest in before.items() if not _is_current(snapshot, path, digest)}
    stale.update(file.path for file in changing if (folder / file.path).exists())
    kept = {file.path for file in wanted}
    graphs = {graph.name for graph in folder.glob("*.onnx*") if graph.suffix != INCOMPLETE_SUFFIX}
    strays = graphs & snapshot.files.keys() - before.keys() - kept  # copied here by hand
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
    """Check that the selected files are in the folder and undamaged.

    Raises:
        HubError: One is missing or damaged.
    """
    known = read_digests(folder)
    there = {file.name for file in folder.glob("*") if file.is_file()}
    try:
        needed = select_files(source.model_format, sorted({*there, *known}), options.quantization)
    except LookupError:
        raise HubError(f"It is not in {folder}, and downloads are disabled.") from None
    for path in {*needed, CONFIG_FILE} if source.model_format in GRAPH_STEMS else needed:
        file = folder / path
        if path not in there:
            raise HubError(f"There is no {path} in {folder}, and downloads are disabled.")
        if path in known and not _verify_digest(file, known[path], on_progress):
            raise HubError(f"{file} is damaged, and downloads are disabled.")


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
    """Return whether a file has this digest, and report progress."""
    name, size = f"checking {path.name}", path.stat().st_size
    on_progress(name, 0, size)
    right = matches_digest(path, digest)
    on_progress(name, size, size)
    return right


def _check_free_space(folder: Path, parts: Mapping[RemoteFile, Path]) -> None:
    """Check the disk space for the missing files before a long download.

    Raises:
        OSError: There is too little.
    """
    have = sum(part.stat().st_size for part in parts.values() if part.exists())
    needed = sum(file.size for file in parts) - have
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, f"{needed / _BYTES_PER_GIB:.1f} GiB are needed")


def _write_missing_config(folder: Path, model_type: str, files: Iterable[RemoteFile]) -> None:
    """Write ``config.json`` for a repository of ONNX graphs without one."""
    names = {file.path for file in files}
    if VOCABULARY_FILE in names and CONFIG_FILE not in names:
        (folder / CONFIG_FILE).write_text(json.dumps({"model_type": model_type}), "utf-8")


@contextmanager
def _translate_errors(source: ModelSource, folder: Path) -> Iterator[None]:
    """Turn errors into ``ModelUnavailable`` with the command to run again."""
    try:
        yield
    except (LookupError, HubError, OSError) as error:
        again = f"echoic models get {source.name}"
        raise ModelUnavailable(source.name, _render_error(error, folder), again) from error


def _render_error(error: Exception, folder: Path) -> str:
    match error:
        case HubError() if any(folder.glob(f"*{INCOMPLETE_SUFFIX}")):
            return f"{error.reason} The partial download is kept and will be resumed."
        case HubError():
            return error.reason
        case Timeout():
            return "Another process is downloading it."
        case OSError(errno=errno.ENOSPC):
            free = shutil.disk_usage(folder).free / _BYTES_PER_GIB
            return f"Not enough disk space in {folder}: {error.strerror}, {free:.1f} GiB are free."
        case OSError():
            return f"{folder} cannot be written: {error.strerror or 'unknown reason'}."
        case _:  # LookupError of select_files
            return str(error.args[0])

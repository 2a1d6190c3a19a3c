"""Fetching a model by its name: what is missing of it, into the folder for models.

All that is missing is fetched and checked first; then the files get their names, the weights last. So a model
that is there stays whole whenever a transfer is cut off, and only one process fetches it at a time.
"""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from echoic.engines.catalogue import files_of, source_of
from echoic.engines.hub import HubRefusal, is_right
from echoic.engines.parakeet_files import CONFIG, VOCABULARY
from echoic.engines.weights import digests_of, is_complete, keep_record
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from echoic.engines.catalogue import Source
    from echoic.engines.hub import Hub, RemoteFile, Shelf

#: What the name of a file ends in while it is not complete.
PART = ".part"
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched of a model.

    Attributes:
        quantization: Of graphs: a suffix such as ``int8``, empty for full precision, None: the usual one.
        revision: The commit, branch or tag to take; None: the newest.
    """

    quantization: str | None = None
    revision: str | None = None


def fetch_model(
    name: str,
    cache: Path,
    hub: Hub | None,
    order: Order = Order(),
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Path:
    """Fetch what is missing of a model and return its folder.

    Args:
        name: One of ``catalogue.SOURCES``.
        cache: The folder for models.
        hub: Where from; None: it may not be asked.
        order: What of it.
        progress: Told of each block: the file's name, its bytes so far, and its size.

    Raises:
        ModelUnavailable: Nobody knows the name, the hub cannot be reached or has other files, a transfer was
            cut off, a checksum is wrong, or there is no room: which, and what to do.
    """
    source = source_of(name)
    folder = cache / source.name
    with _refusals(source, folder):
        if hub is None:
            if not is_complete(source.name, cache):
                raise HubRefusal(f"It is not in {cache}, and the hub may not be asked.")
            return folder
        shelf = hub.shelf(source.repository, order.revision)
        wanted = [shelf.files[path] for path in files_of(source.form, shelf.files, order.quantization)]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{source.name}.lock", timeout=0):
            _add_config(folder, source.architecture, wanted)
            _fetch(hub, shelf, wanted, folder, progress)
            keep_record(folder, source.name, shelf, {file.path: file.digest for file in wanted})
    return folder


def _fetch(
    hub: Hub,
    shelf: Shelf,
    wanted: Sequence[RemoteFile],
    folder: Path,
    progress: Callable[[str, int, int], object],
) -> None:
    before = digests_of(folder)
    parts = {file: _part(folder, file) for file in wanted if not _is_there(folder, file, before)}
    _make_room(folder, parts)
    for file in wanted:
        told = partial(_told, progress, file)
        if file in parts:
            told(0)
            hub.fetch(shelf, file, parts[file], told)
        told(file.size)
    if any((folder / file.path).exists() for file in parts):
        _drop_derived(folder, {*before, *(file.path for file in wanted)})
    for file, part in parts.items():
        part.replace(folder / file.path)
    for stale in folder.glob(f"*{PART}"):
        stale.unlink()


def _drop_derived(folder: Path, fetched: Collection[str]) -> None:
    """Remove the graphs that were made here of files that now change (``echoic models optimize``)."""
    for graph in folder.glob("*.onnx*"):
        if graph.name not in fetched and graph.suffix != PART:
            graph.unlink()


def _told(progress: Callable[[str, int, int], object], file: RemoteFile, have: int) -> None:
    progress(file.path, have, file.size)


def _part(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.path}.{file.digest[:12]}{PART}"


def _is_there(folder: Path, file: RemoteFile, before: Mapping[str, str]) -> bool:
    """Return whether a file was fetched before, or came here in another way and is the right one."""
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return before[file.path] == file.digest if file.path in before else is_right(path, file.digest)


def _make_room(folder: Path, parts: Mapping[RemoteFile, Path]) -> None:
    """Look whether the disk has room for what is missing, before hours are spent on it.

    Raises:
        OSError: It has not.
    """
    have = sum(part.stat().st_size for part in parts.values() if part.exists())
    needed = sum(file.size for file in parts) - have
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, f"{needed / _GIB:.1f} GiB are needed")


def _add_config(folder: Path, architecture: str, files: Iterable[RemoteFile]) -> None:
    """Write the ``config.json`` that some older repositories of graphs lack."""
    names = {file.path for file in files}
    if VOCABULARY in names and CONFIG not in names:
        (folder / CONFIG).write_text(json.dumps({"model_type": architecture}), "utf-8")


@contextmanager
def _refusals(source: Source, folder: Path) -> Iterator[None]:
    """Turn what goes wrong into a refusal of the model, with what to do."""
    try:
        yield
    except (LookupError, HubRefusal, OSError) as error:
        again = f"echoic models get {source.name}"
        raise ModelUnavailable(source.name, _sentence(error, folder), again) from error


def _sentence(error: Exception, folder: Path) -> str:
    match error:
        case HubRefusal() if any(folder.glob(f"*{PART}")):
            return f"{error.reason} What has come so far is kept, and used the next time."
        case HubRefusal():
            return error.reason
        case Timeout():
            return "Another process is fetching it."
        case OSError(errno=errno.ENOSPC):
            free = shutil.disk_usage(folder).free / _GIB
            return f"There is no room for it in {folder}: {error.strerror}, {free:.1f} GiB are free."
        case OSError():
            return f"{folder} cannot be written: {error.strerror or 'unknown reason'}."
        case _:  # of a repository that holds something else
            return str(error.args[0])

"""Fetching a model by its name: what is missing of it, into the folder for models.

What is there is checked, and all that is missing fetched first; then the files get their names, the weights
last. So a model that is there stays whole whenever a transfer is cut off, and only one process fetches it at
a time. What another revision has otherwise goes: a folder holds files of one revision.
"""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from echoic.engines.catalogue import STEMS, files_of, source_of
from echoic.engines.hub import HubRefusal, is_right
from echoic.engines.parakeet_files import CONFIG, VOCABULARY
from echoic.engines.weights import digests_of, keep_record
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        progress: Told of each block: the file's name, its bytes so far, and its size; of one that is there,
            that it is being checked.

    Raises:
        ModelUnavailable: Nobody knows the name, the hub cannot be reached or has other files, a transfer was
            cut off, a checksum is wrong, or there is no room: which, and what to do. Without a hub: a file
            is missing or damaged.
    """
    source = source_of(name)
    folder = cache / source.name
    with _refusals(source, folder):
        if hub is None:
            _check_here(source, folder, order, progress)
            return folder
        shelf = hub.shelf(source.repository, order.revision)
        wanted = [shelf.files[path] for path in files_of(source.form, shelf.files, order.quantization)]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{source.name}.lock", timeout=0):
            _add_config(folder, source.architecture, wanted)
            _fetch(hub, shelf, wanted, folder, progress)
            keep_record(folder, source.name, shelf, wanted)
    return folder


def _fetch(
    hub: Hub,
    shelf: Shelf,
    wanted: Sequence[RemoteFile],
    folder: Path,
    progress: Callable[[str, int, int], object],
) -> None:
    parts = {file: _part(folder, file) for file in wanted if not _is_there(folder, file, progress)}
    _make_room(folder, parts)
    for file, part in parts.items():
        told = partial(_told, progress, file)
        told(0)
        hub.fetch(shelf, file, part, told)
        told(file.size)
    _drop_stale(folder, shelf, wanted, parts)
    for file, part in parts.items():
        part.replace(folder / file.path)
    usable = {_part(folder, file) for file in shelf.files.values()}
    for stale in set(folder.glob(f"*{PART}")) - usable:
        stale.unlink()


def _drop_stale(
    folder: Path, shelf: Shelf, wanted: Sequence[RemoteFile], changing: Iterable[RemoteFile]
) -> None:
    """Remove what does not belong to the revision on the shelf, and what was made here of it.

    Files that change go before the first new one gets its name, so that no moment sees a mixture.
    """
    before = {path: digest for path, digest in digests_of(folder).items() if path == PurePath(path).name}
    stale = {path for path, digest in before.items() if not _has(shelf, path, digest)}
    stale.update(file.path for file in changing if (folder / file.path).exists())
    kept = {file.path for file in wanted}
    graphs = {graph.name for graph in folder.glob("*.onnx*") if graph.suffix != PART}
    strays = graphs & shelf.files.keys() - before.keys() - kept  # came here in another way
    stale.update(path for path in strays if not is_right(folder / path, shelf.files[path].digest))
    made_here = graphs - shelf.files.keys() - before.keys()
    for path in (*stale, *(made_here if stale else ())):
        (folder / path).unlink(missing_ok=True)


def _has(shelf: Shelf, path: str, digest: str) -> bool:
    return path in shelf.files and shelf.files[path].digest == digest


def _check_here(
    source: Source, folder: Path, order: Order, progress: Callable[[str, int, int], object]
) -> None:
    """Look whether all that is ordered is there as it was fetched.

    Raises:
        HubRefusal: It is not.
    """
    known = digests_of(folder)
    there = {file.name for file in folder.glob("*") if file.is_file()}
    try:
        needed = files_of(source.form, sorted({*there, *known}), order.quantization)
    except LookupError:
        raise HubRefusal(f"It is not in {folder}, and the hub may not be asked.") from None
    for path in {*needed, CONFIG} if source.form in STEMS else needed:
        file = folder / path
        if path not in there:
            raise HubRefusal(f"There is no {path} in {folder}, and the hub may not be asked.")
        if path in known and not _is_checked(file, known[path], progress):
            raise HubRefusal(f"{file} is damaged, and the hub may not be asked.")


def _told(progress: Callable[[str, int, int], object], file: RemoteFile, have: int) -> None:
    progress(file.path, have, file.size)


def _part(folder: Path, file: RemoteFile) -> Path:
    return folder / f"{file.path}.{file.digest[:12]}{PART}"


def _is_there(folder: Path, file: RemoteFile, progress: Callable[[str, int, int], object]) -> bool:
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return _is_checked(path, file.digest, progress)


def _is_checked(path: Path, digest: str, progress: Callable[[str, int, int], object]) -> bool:
    """Return whether a file that is there has the digest it should have."""
    name, size = f"checking {path.name}", path.stat().st_size
    progress(name, 0, size)
    right = is_right(path, digest)
    progress(name, size, size)
    return right


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

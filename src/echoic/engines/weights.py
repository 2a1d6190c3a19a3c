"""Models' weights on this machine: the folder they are fetched to, and what is in it.

A model's folder bears its name and holds plain files, which may be copied elsewhere. Each file gets its name
when its checksum is right, and the weights themselves come last: where they are, everything is. Beside them
``echoic.json`` keeps where they are from.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from echoic.engines.catalogue import SOURCES, STEMS, main_file, names_of, source_of
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from echoic.engines.hub import RemoteFile, Shelf

#: The file beside the weights that says where they are from.
RECORD = "echoic.json"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model in the folder for models.

    Attributes:
        name: Its name.
        folder: Where it is.
        complete: Whether it can be loaded; False: a transfer was cut off.
        size: Bytes on the disk.
        quantizations: Of its graphs, empty for full precision; none where the form knows none.
        repository: Where it is from, if that is known.
        revision: The commit of it.
    """

    name: str
    folder: Path
    complete: bool
    size: int
    quantizations: tuple[str, ...]
    repository: str | None = None
    revision: str | None = None


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


def find_model(cache: Path, names: Iterable[str] = names_of("onnx", "ctc")) -> Path | None:
    """Return the folder of the first of these models that is there completely, or None."""
    return next((cache / name for name in names if _weights(cache, name)), None)


def find_file(cache: Path, names: Iterable[str]) -> Path | None:
    """Return the weights themselves of the first of these models that is there completely, or None."""
    return next((found[0] for name in names if (found := _weights(cache, name))), None)


def list_fetched(cache: Path) -> list[Fetched]:
    """Return what there is in the folder for models, complete or not."""
    return [_look(cache, name) for name in SOURCES if (cache / name).is_dir()]


def languages_of(folder: Path) -> tuple[str, ...]:
    """Return the languages of a model that was fetched; empty if that is not known."""
    name = _record(folder).get("name", folder.name)
    return SOURCES[name].languages if name in SOURCES else ()


def remove_model(name: str, cache: Path) -> Fetched:
    """Remove a model that was fetched and return what it was.

    Raises:
        ModelUnavailable: Nobody knows the name, it is not there, or it cannot be removed.
    """
    folder = cache / source_of(name).name
    if not folder.is_dir():
        raise ModelUnavailable(name, f"It is not in {cache}.")
    found = _look(cache, folder.name)
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise ModelUnavailable(name, f"{folder} cannot be removed: {error.strerror}.") from error
    return found


def digests_of(folder: Path) -> dict[str, str]:
    """Return the digests of the files that were fetched before, by their names."""
    files = _read(folder / RECORD).get("files")
    return {path: str(digest) for path, digest in files.items()} if isinstance(files, dict) else {}


def keep_record(folder: Path, name: str, shelf: Shelf, fetched: Iterable[RemoteFile]) -> None:
    """Write where a model is from, and the digests of its files: these, and of those before what is the same.

    Args:
        folder: The model's.
        name: The model's.
        shelf: Where its files are from.
        fetched: Those of them that are there now.
    """
    now = {path: file.digest for path, file in shelf.files.items()}
    known = {path: digest for path, digest in digests_of(folder).items() if now.get(path) == digest}
    known |= {file.path: file.digest for file in fetched}
    record = {"name": name, "repository": shelf.repository, "revision": shelf.revision, "files": known}
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _weights(cache: Path, name: str) -> list[Path]:
    """Return the files that are fetched last, if the model is there completely."""
    form = SOURCES[name].form
    return sorted((cache / name).glob(main_file(form)))


def quantizations(folder: Path, stem: str) -> tuple[str, ...]:
    """Return the quantizations of a graph that are there, empty for full precision.

    Args:
        folder: Where.
        stem: What its file's name begins with.
    """
    files = sorted(folder.glob(f"{stem}*.onnx"))
    return tuple(file.name.removeprefix(stem).removesuffix(".onnx").lstrip(".") for file in files)


def size_of(place: Path) -> int:
    """Return the bytes of a model's file or folder."""
    files = place.rglob("*") if place.is_dir() else (place,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _look(cache: Path, name: str) -> Fetched:
    folder, form = cache / name, SOURCES[name].form
    record = _record(folder)
    return Fetched(
        name,
        folder,
        bool(_weights(cache, name)),
        size_of(folder),
        quantizations(folder, STEMS[form][-1]) if form in STEMS else (),
        record.get("repository"),
        record.get("revision"),
    )


def _record(folder: Path) -> dict[str, str]:
    """Return what stands beside the weights about all of them; nothing if that is nothing of ours."""
    return {key: value for key, value in _read(folder / RECORD).items() if isinstance(value, str)}


def _read(file: Path) -> dict[str, object]:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}

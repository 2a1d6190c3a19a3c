"""Finds, lists and removes downloaded models.

A model's folder bears its name and holds plain files, which may be copied. A file gets its name when its
checksum has been verified, the weights last: a folder with weights is complete. ``echoic.json`` records the
source.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from echoic.engines.store.catalogue import (
    GRAPH_STEMS,
    MODEL_SOURCES,
    get_weights_pattern,
    list_model_names,
    resolve_source,
)
from echoic.engines.store.hub import RemoteFile, RepoSnapshot
from echoic.errors import ModelUnavailable

#: The file that records a model's repository, revision and digests.
SOURCE_RECORD_FILE = "echoic.json"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the models folder."""

    name: str
    folder: Path
    is_complete: bool
    """False: the download was interrupted."""
    size: int
    """Bytes on the disk."""
    quantizations: tuple[str, ...]
    """Suffixes of its ONNX graphs, empty for float32; no suffixes for other formats."""
    repository: str | None = None
    """The repository on the hub, or None if it is unknown."""
    revision: str | None = None
    """The commit, or None if it is unknown."""


def resolve_cache_folder(env: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return the default models folder of this user.

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


def find_model_folder(cache: Path, names: Iterable[str] = list_model_names("onnx", "ctc")) -> Path | None:
    """Return the folder of the first of these models that is complete, or None."""
    return next((cache / name for name in names if _find_weights(cache, name)), None)


def find_model_file(cache: Path, names: Iterable[str]) -> Path | None:
    """Return the weights file of the first of these models that is complete, or None."""
    return next((found[0] for name in names if (found := _find_weights(cache, name))), None)


def list_cached_models(cache: Path) -> list[CachedModel]:
    """Return the models in the models folder, incomplete ones too."""
    return [_inspect_model(cache, name) for name in MODEL_SOURCES if (cache / name).is_dir()]


def read_languages(folder: Path) -> tuple[str, ...]:
    """Return the languages of a downloaded model; empty if they are unknown."""
    name = _read_source_record(folder).get("name", folder.name)
    return MODEL_SOURCES[name].languages if name in MODEL_SOURCES else ()


def remove_model(name: str, cache: Path) -> CachedModel:
    """Remove a downloaded model and return its description.

    Raises:
        ModelUnavailable: The name is unknown, or the model is not downloaded or cannot be removed.
    """
    folder = cache / resolve_source(name).name
    if not folder.is_dir():
        raise ModelUnavailable(name, f"It is not in {cache}.")
    found = _inspect_model(cache, folder.name)
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise ModelUnavailable(name, f"{folder} cannot be removed: {error.strerror}.") from error
    return found


def read_digests(folder: Path) -> dict[str, str]:
    """Return the recorded digests of a model's files, by file name."""
    files = _read_json_object(folder / SOURCE_RECORD_FILE).get("files")
    return {path: str(digest) for path, digest in files.items()} if isinstance(files, dict) else {}


def write_source_record(
    folder: Path, name: str, snapshot: RepoSnapshot, downloaded: Iterable[RemoteFile]
) -> None:
    """Record the source of a model, with the digests of its files.

    Digests of earlier downloads stay if the revision has the same files.

    Args:
        folder: The model's folder.
        name: The model's name.
        snapshot: The repository.
        downloaded: Files of the snapshot that are in the folder now.
    """
    now = {path: file.digest for path, file in snapshot.files.items()}
    known = {path: digest for path, digest in read_digests(folder).items() if now.get(path) == digest}
    known |= {file.path: file.digest for file in downloaded}
    record = {"name": name, "repository": snapshot.repository, "revision": snapshot.revision, "files": known}
    (folder / SOURCE_RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _find_weights(cache: Path, name: str) -> list[Path]:
    """Return the weights files; none if the model is incomplete."""
    form = MODEL_SOURCES[name].model_format
    return sorted((cache / name).glob(get_weights_pattern(form)))


def list_quantizations(folder: Path, stem: str) -> tuple[str, ...]:
    """Return the quantizations of a graph in a folder, empty for float32.

    Args:
        folder: The model's folder.
        stem: The start of the graph's file name.
    """
    files = sorted(folder.glob(f"{stem}*.onnx"))
    return tuple(file.name.removeprefix(stem).removesuffix(".onnx").lstrip(".") for file in files)


def measure_size(path: Path) -> int:
    """Return the bytes of a file or folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def _inspect_model(cache: Path, name: str) -> CachedModel:
    folder, form = cache / name, MODEL_SOURCES[name].model_format
    record = _read_source_record(folder)
    return CachedModel(
        name,
        folder,
        bool(_find_weights(cache, name)),
        measure_size(folder),
        list_quantizations(folder, GRAPH_STEMS[form][-1]) if form in GRAPH_STEMS else (),
        record.get("repository"),
        record.get("revision"),
    )


def _read_source_record(folder: Path) -> dict[str, str]:
    """Return the text values of ``echoic.json``; empty if it is missing or damaged."""
    return {
        key: value
        for key, value in _read_json_object(folder / SOURCE_RECORD_FILE).items()
        if isinstance(value, str)
    }


def _read_json_object(file: Path) -> dict[str, object]:
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}

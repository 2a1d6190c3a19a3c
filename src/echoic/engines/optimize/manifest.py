"""What ``echoic models optimize`` chose for a folder, and of which files: ``optimized.json`` beside them.

The forms that were made here are taken only as this says, so a form that was rejected, or was made of files
that are no longer there, is never loaded by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

MANIFEST_FILE = "optimized.json"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file is known by.

    Attributes:
        size: Its bytes.
        changed: When it was written, in nanoseconds; with the same size and time it is the same file.
        digest: Its SHA-256, which a copy has too.
    """

    size: int
    changed: int
    digest: str


@dataclass(frozen=True, slots=True)
class OptimizedManifest:
    """What was chosen.

    Attributes:
        encoder: The encoder's file, or the original's if nothing was better; empty: nothing can be known.
        networks: The files of the decoding networks: one, or three if they were cut, none with ``ctc``.
        sources: What the forms were made of, by the files' names.
    """

    encoder: str
    networks: tuple[str, ...]
    sources: Mapping[str, FileDigest]

    def matches_folder(self, folder: Path) -> bool:
        """Return whether what the forms were made of is still there, or is not there at all."""
        return bool(self.encoder) and all(
            _is_unchanged(folder / name, mark) for name, mark in self.sources.items()
        )


_UNREADABLE_MANIFEST = OptimizedManifest("", (), {})


def read_optimized_manifest(folder: Path) -> OptimizedManifest | None:
    """Return what was chosen for a folder; None: nothing was; one that cannot be read fits nothing."""
    try:
        data = json.loads((folder / MANIFEST_FILE).read_bytes())
        names = [data["encoder"], *data["networks"], *data["sources"]]
        if any(Path(name).name != name for name in names):
            return _UNREADABLE_MANIFEST
        sources = {name: FileDigest(**mark) for name, mark in data["sources"].items()}
        return OptimizedManifest(data["encoder"], tuple(data["networks"]), sources)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _UNREADABLE_MANIFEST


def write_optimized_manifest(manifest: OptimizedManifest, folder: Path) -> Path:
    """Write what was chosen and return where it stands."""
    file = folder / MANIFEST_FILE
    file.write_text(json.dumps(asdict(manifest), indent=2) + "\n", "utf-8")
    return file


def digest_files(files: Iterable[Path]) -> dict[str, FileDigest]:
    """Return what files are known by, and those with their large tensors, by their names."""
    found = {}
    for file in (one for graph in files for one in (graph, graph.with_name(f"{graph.name}.data"))):
        if file.is_file():
            state = file.stat()
            digest = _hash_file(file, state.st_size, state.st_mtime_ns)
            found[file.name] = FileDigest(state.st_size, state.st_mtime_ns, digest)
    return found


def _is_unchanged(file: Path, known: FileDigest) -> bool:
    if not file.is_file():
        return True
    state = file.stat()
    if state.st_size != known.size:
        return False
    return (
        state.st_mtime_ns == known.changed or _hash_file(file, known.size, state.st_mtime_ns) == known.digest
    )


@lru_cache(maxsize=16)
def _hash_file(file: Path, _size: int, _changed: int) -> str:
    """Return a file's SHA-256; it is read once for each size and time, since that takes seconds."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

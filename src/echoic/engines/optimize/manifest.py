"""Reads and writes ``optimized.json``: a folder's optimized files and the checksums of their sources.

By default only files that the manifest names are loaded. So a rejected file is never loaded, and neither is
one whose source has been replaced since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec

MANIFEST_FILE = "optimized.json"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Identifies the content of a file."""

    size: int
    """Bytes."""
    changed: int
    """Modification time in nanoseconds. A file with the same size and time is taken as unchanged."""
    digest: str
    """SHA-256 in hex; compared when the time differs, as it does for a copy."""


@dataclass(frozen=True, slots=True)
class OptimizedManifest:
    """The content of ``optimized.json``."""

    encoder: str
    """Name of the encoder's file: the optimized one or the original; empty if the manifest is unreadable."""
    networks: tuple[str, ...]
    """Names of the decoding networks: one file, three if they were split, none for a CTC model."""
    sources: Mapping[str, FileDigest]
    """The files that the optimized ones were made from, by name."""

    def matches_folder(self, folder: Path) -> bool:
        """Return whether every source in ``folder`` is unchanged. A missing source counts as unchanged."""
        return bool(self.encoder) and all(
            _is_unchanged(folder / name, known) for name, known in self.sources.items()
        )


_UNREADABLE_MANIFEST = OptimizedManifest("", (), {})


def read_optimized_manifest(folder: Path) -> OptimizedManifest | None:
    """Return the manifest of a folder, or None if there is none.

    An unreadable manifest, or one that names files outside of the folder, matches no folder.
    """
    try:
        found = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=OptimizedManifest)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return _UNREADABLE_MANIFEST
    names = (found.encoder, *found.networks, *found.sources)
    return found if all(Path(name).name == name for name in names) else _UNREADABLE_MANIFEST


def write_optimized_manifest(manifest: OptimizedManifest, folder: Path) -> Path:
    """Write the manifest to ``folder`` and return its path."""
    file = folder / MANIFEST_FILE
    file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    return file


def digest_files(files: Iterable[Path]) -> dict[str, FileDigest]:
    """Return the digests of ONNX files and of their external tensors (``NAME.data``), by file name."""
    found = {}
    for file in (one for graph in files for one in (graph, graph.with_name(f"{graph.name}.data"))):
        if file.is_file():
            stat = file.stat()
            digest = _hash_file(file, stat.st_size, stat.st_mtime_ns)
            found[file.name] = FileDigest(stat.st_size, stat.st_mtime_ns, digest)
    return found


def _is_unchanged(file: Path, known: FileDigest) -> bool:
    if not file.is_file():
        return True
    stat = file.stat()
    if stat.st_size != known.size:
        return False
    return stat.st_mtime_ns == known.changed or _hash_file(file, known.size, stat.st_mtime_ns) == known.digest


@lru_cache(maxsize=16)
def _hash_file(file: Path, _size: int, _changed: int) -> str:
    """Return a file's SHA-256. Cached by size and time, because hashing gigabytes takes seconds."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

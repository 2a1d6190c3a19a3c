"""Cheap checks of a model's files: missing, empty, a Git LFS pointer, not JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from echoic.errors import ModelUnavailable

_LFS_POINTER_PREFIX = b"version https://git-lfs"


def find_defect(file: Path) -> str | None:
    """Return what is wrong with a file as a sentence, or None; reads only its first bytes."""
    if not file.is_file():
        return f"{file.name} is missing in {file.parent}."
    with file.open("rb") as opened:
        beginning = opened.read(len(_LFS_POINTER_PREFIX))
    if not beginning:
        return f"{file} is empty."
    if beginning == _LFS_POINTER_PREFIX:
        return f"{file} is a Git LFS pointer and not the file itself: run `git lfs pull` there."
    return None


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """Checks the files of one model; every method raises ``ModelUnavailable`` for a defect."""

    #: Builds the error from a sentence about the defect.
    build_error: Callable[[str], ModelUnavailable]

    def require_folder(self, folder: Path) -> Path:
        """Return ``folder`` if it exists."""
        if not folder.is_dir():
            raise self.build_error(f"There is no folder {folder}.")
        return folder

    def require_file(self, file: Path) -> Path:
        """Return ``file`` if it exists and has content."""
        if reason := find_defect(file):
            raise self.build_error(reason)
        return file

    def read_json(self, file: Path) -> dict[str, object]:
        """Return the JSON object that ``file`` holds."""
        try:
            content = json.loads(self.require_file(file).read_bytes())
        except ValueError:
            raise self.build_error(f"{file} is not JSON.") from None
        if not isinstance(content, dict):
            raise self.build_error(f"{file} is not a JSON object.")
        return content

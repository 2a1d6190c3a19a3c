"""What a look at a model's file tells before anything reads it."""

from __future__ import annotations

from pathlib import Path

_LFS_POINTER_PREFIX = b"version https://git-lfs"


def find_defect(file: Path) -> str | None:
    """Return what is wrong with a file at its first bytes, as a sentence; None: nothing that shows there."""
    if not file.is_file():
        return f"{file.name} is missing in {file.parent}."
    with file.open("rb") as opened:
        beginning = opened.read(len(_LFS_POINTER_PREFIX))
    if not beginning:
        return f"{file} is empty."
    if beginning == _LFS_POINTER_PREFIX:
        return f"{file} is a Git LFS pointer and not the file itself: run `git lfs pull` there."
    return None

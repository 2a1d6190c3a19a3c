"""Files that are whole at any moment: whoever is killed while one is written leaves the one before."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

#: Why nothing may be made in a folder whose files may be written.
_PERMISSION_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside the one that is there and put it in its place, its owner and permissions kept.

    Where that would lose more than it keeps, it is written over: another name of the same file, an owner
    whom the new one could not have, a folder in which nothing may be made.

    Args:
        path: The file, or a link to it.
        data: What is to be in it.

    Raises:
        OSError: It cannot be written; what is there stays, unless it is written over.
    """
    path.touch()
    target = path.resolve()
    if not target.is_file():  # a pipe
        target.write_bytes(data)
    elif target.stat().st_nlink > 1 or not _try_replace(target, data):
        with target.open("r+b") as file:
            file.write(data)
            file.truncate()


def _try_replace(target: Path, data: bytes) -> bool:
    """Put a new file in the place of ``target``; return whether that was allowed."""
    try:
        number, name = mkstemp(".part", f".{target.stem[:40]}.", target.parent)
    except OSError as error:
        if error.errno not in _PERMISSION_ERRORS:
            raise
        return False
    try:
        with open(number, "wb") as file:  # noqa: PTH123  # it is open by its number
            file.write(data)
            file.flush()
            os.fsync(number)  # else a machine that loses power has neither
        return _try_move(Path(name), target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _try_move(part: Path, target: Path) -> bool:
    """Give a file what the other has beside its bytes, and its name; return whether that was allowed."""
    old = target.stat()
    try:
        if (old.st_uid, old.st_gid) != ((new := part.stat()).st_uid, new.st_gid):
            os.chown(part, old.st_uid, old.st_gid)
        shutil.copystat(target, part)
        os.utime(part)
        part.replace(target)
    except OSError:  # it is another's; or mounted by itself; or, on Windows, open
        return False
    return True

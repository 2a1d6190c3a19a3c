"""Files that are whole at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from echoic.cli.transcript_file import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

unix = pytest.mark.skipif(sys.platform == "win32", reason="a thing of Unix")

#: Writes more than it may, in the middle of which it is refused, or killed.
TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from echoic.cli.transcript_file import write_atomically

signal.signal(signal.SIGXFSZ, signal.SIG_DFL if sys.argv[2] == "killed" else signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_atomically(Path(sys.argv[1]), bytes(100_000))
except OSError:
    print("refused")
"""


def too_much(file: Path, how: str) -> tuple[int, str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TOO_MUCH, str(file), how]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    return done.returncode, done.stdout


@unix
def test_who_is_killed_in_the_middle_leaves_the_file_before(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    write_atomically(file, b"yesterday")
    assert too_much(file, "killed") == (-signal.SIGXFSZ, "")
    assert file.read_bytes() == b"yesterday"


@unix
def test_a_full_disk_leaves_the_file_before_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    write_atomically(file, b"yesterday")
    assert too_much(file, "refused") == (0, "refused\n")
    assert file.read_bytes() == b"yesterday"
    assert list(tmp_path.iterdir()) == [file]


@unix
def test_permissions_stay_and_those_of_a_new_file_are_as_usual(tmp_path: Path) -> None:
    old, new, usual = (tmp_path / name for name in ("old.txt", "new.txt", "usual.txt"))
    old.touch()
    old.chmod(0o640)
    usual.touch()
    for file in (old, new):
        write_atomically(file, b"words")
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode == usual.stat().st_mode


@unix
def test_a_link_stays_one_and_other_names_of_the_file_have_it_too(tmp_path: Path) -> None:
    file, link, other = (tmp_path / name for name in ("talk.txt", "link.txt", "other.txt"))
    file.write_bytes(b"something much longer")
    link.symlink_to("talk.txt")
    write_atomically(link, b"words")
    assert link.is_symlink()
    other.hardlink_to(file)
    write_atomically(file, b"more")
    assert [one.read_bytes() for one in (file, link, other)] == [b"more"] * 3


@unix
def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "talk.txt"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_atomically, args=(pipe, b"words"))
    writer.start()
    assert pipe.read_bytes() == b"words"
    writer.join()


@unix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may do everything")
def test_in_a_folder_where_nothing_may_be_made_it_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_bytes(b"something much longer")
    tmp_path.chmod(0o500)
    try:
        write_atomically(file, b"words")
    finally:
        tmp_path.chmod(0o700)
    assert file.read_bytes() == b"words"


@unix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.touch()
    os.chown(file, 1234, 2345)
    write_atomically(file, b"words")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)

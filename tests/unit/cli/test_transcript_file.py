from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from echoic.cli.transcript_file import StreamTranscript, TranscriptFile, write_atomically
from echoic.client import Final

unix = pytest.mark.skipif(sys.platform == "win32", reason="needs Unix")

#: Exceeds its file size limit within a write, which fails, or kills the process.
TOO_LARGE_WRITE = """
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


def write_too_much(file: Path, outcome: str) -> tuple[int, str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TOO_LARGE_WRITE, str(file), outcome]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    return done.returncode, done.stdout


@unix
def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    write_atomically(file, b"yesterday")
    assert write_too_much(file, "killed") == (-signal.SIGXFSZ, "")
    assert file.read_bytes() == b"yesterday"


@unix
def test_a_full_disk_leaves_only_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    write_atomically(file, b"yesterday")
    assert write_too_much(file, "refused") == (0, "refused\n")
    assert file.read_bytes() == b"yesterday"
    assert list(tmp_path.iterdir()) == [file]


@unix
def test_permissions_are_kept_and_new_files_have_defaults(tmp_path: Path) -> None:
    old, new, usual = (tmp_path / name for name in ("old.txt", "new.txt", "usual.txt"))
    old.touch()
    old.chmod(0o640)
    usual.touch()
    for file in (old, new):
        write_atomically(file, b"words")
    assert old.stat().st_mode & 0o777 == 0o640
    assert new.stat().st_mode == usual.stat().st_mode


@unix
def test_symbolic_and_hard_links_are_kept(tmp_path: Path) -> None:
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
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root ignores permissions")
def test_in_a_read_only_folder_the_file_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_bytes(b"something much longer")
    tmp_path.chmod(0o500)
    try:
        write_atomically(file, b"words")
    finally:
        tmp_path.chmod(0o700)
    assert file.read_bytes() == b"words"


@unix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root changes owners")
def test_the_owner_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.touch()
    os.chown(file, 1234, 2345)
    write_atomically(file, b"words")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def build_transcript(*texts: str) -> StreamTranscript:
    """Build a transcript with a final of one second for each text."""
    transcript = StreamTranscript()
    for number, text in enumerate(texts, 1):
        transcript.add_frame(
            Final(
                text=text,
                segment_id=number,
                segment_start=number - 1.0,
                segment_end=float(number),
                chunk_duration=1.0,
                overlap=0.0,
                chunk_start=number - 1.0,
                chunk_end=float(number),
                new_audio_duration=1.0,
                cumulative_audio=float(number),
            )
        )
    return transcript


def test_writes_are_limited_in_rate_except_the_last(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    with closing(TranscriptFile(file)) as transcript_file:
        transcript_file.update_if_due(build_transcript("one"))
        assert file.read_text("utf-8") == "one\n"
        transcript_file.update_if_due(build_transcript("one", "two"))  # too soon
        assert file.read_text("utf-8") == "one\n"
        transcript_file.write(build_transcript("one", "two"))
        assert file.read_text("utf-8") == "one two\n"


def test_a_longer_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("something much longer", "utf-8")
    with closing(TranscriptFile(file)) as transcript_file:
        transcript_file.write(build_transcript("öne"))
    assert file.read_text("utf-8") == "öne\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_failed_write_is_retried_later(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.symlink_to("/dev/full")
    with closing(TranscriptFile(file)) as transcript_file:
        with pytest.raises(ValueError, match="cannot be written: no space left on device"):
            transcript_file.update_if_due(build_transcript("one"))
        transcript_file.update_if_due(build_transcript("one", "two"))  # too soon: no error


@unix
def test_a_pipe_gets_the_transcript_once(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with closing(TranscriptFile(file)) as transcript_file:
        transcript_file.update_if_due(build_transcript("one"))
        transcript_file.write(build_transcript("one", "two"))
        assert os.read(reader, 100) == b"one two\n"
    os.close(reader)

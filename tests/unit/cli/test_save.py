"""A transcript in a file while it is being spoken."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from echoic.cli.transcript_file import StreamTranscript, TranscriptFile
from echoic.client import Final


def heard(*texts: str) -> StreamTranscript:
    """Return what came of a stream with a final of one second for each text."""
    found = StreamTranscript()
    for number, text in enumerate(texts, 1):
        found.add_frame(
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
    return found


def test_the_first_words_are_there_at_once_and_the_last_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    with closing(TranscriptFile(file)) as save:
        save.update_if_due(heard("one"))
        assert file.read_text("utf-8") == "one\n"
        save.update_if_due(heard("one", "two"))  # only a moment later
        assert file.read_text("utf-8") == "one\n"
        save.write(heard("one", "two"))
        assert file.read_text("utf-8") == "one two\n"


def test_nothing_of_a_longer_version_is_left(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("something much longer", "utf-8")
    with closing(TranscriptFile(file)) as save:
        save.write(heard("öne"))
    assert file.read_text("utf-8") == "öne\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is imitated by /dev/full")
def test_what_cannot_be_written_is_told_and_tried_again_later(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.symlink_to("/dev/full")
    with closing(TranscriptFile(file)) as save:
        with pytest.raises(ValueError, match="cannot be written: no space left on device"):
            save.update_if_due(heard("one"))
        save.update_if_due(heard("one", "two"))  # a moment later nobody is bothered again


@pytest.mark.skipif(sys.platform == "win32", reason="pipes have no names there")
def test_a_pipe_gets_it_once(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with closing(TranscriptFile(file)) as save:
        save.update_if_due(heard("one"))
        save.write(heard("one", "two"))
        assert os.read(reader, 100) == b"one two\n"
    os.close(reader)

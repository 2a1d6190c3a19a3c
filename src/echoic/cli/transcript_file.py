"""Files that are whole at any moment: whoever is killed while one is written leaves the one before."""

import errno
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from echoic.cli.options import OutputFormat
from echoic.client import DiarizationSummary, Error, Final, FullTranscript, Insight, ReceivedFrame
from echoic.evaluate.diarization import apply_corrections
from echoic.export.formats import render, render_insight, render_json

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


@dataclass(slots=True)
class StreamTranscript:
    """What a server told; a problem is a sentence for a stretch that could not be decoded.

    Attributes:
        finals: In their order.
        summaries: Who spoke in them.
        insights: What it comes down to.
        problems: What went wrong on the way.
        full_text: The full transcript, once it is told.
    """

    finals: list[Final] = field(default_factory=list)
    summaries: list[DiarizationSummary] = field(default_factory=list)
    insights: list[Insight] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    full_text: str = ""

    def add_frame(self, frame: ReceivedFrame) -> None:
        """Keep a frame, if it is worth it."""
        match frame:
            case Final():
                self.finals.append(frame)
            case DiarizationSummary():
                self.summaries.append(frame)
            case Insight():
                self.insights.append(frame)
            case Error(message=message):
                self.problems.append(message)
            case FullTranscript(text=text):
                self.full_text = text

    def render_as(self, output_format: OutputFormat) -> str:
        """Return it in a format; the speakers are those of the summary at the end."""
        finals = reduce(apply_corrections, self.summaries, self.finals)
        if output_format == "json":
            return render_json(finals, self.insights)
        notes = self.insights[-1:] if output_format is OutputFormat.TXT else []
        return "\n".join([render(finals, output_format.value), *filter(None, map(render_insight, notes))])


#: Seconds until it is tried again after it failed.
_RETRY_SECONDS = 60.0
#: Seconds between two versions of the file; what is written takes at most a hundredth of the time.
_MIN_INTERVAL_SECONDS = 2.0
_INTERVAL_FACTOR = 100


class TranscriptFile:
    """Writes what was heard into a file: now and then, and at the end; what is there is always whole.

    An older file stays as it is until there is something to write. A pipe gets it once, at the end.

    Args:
        path: The file; its ending names the format.

    Raises:
        ValueError: The ending names none, or the file cannot be written; the message is a sentence.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next_write = 0.0
        try:
            self._format = OutputFormat(path.suffix[1:].lower())
        except ValueError:
            forms = ", ".join(f".{form}" for form in OutputFormat)
            raise ValueError(f"{path}: the ending names the format, one of {forms}.") from None
        try:
            path.touch()
            self._stream: BinaryIO | None = None
            if path.is_file():
                path.open("r+b").close()
            else:
                self._stream = path.open("wb")
        except OSError as error:
            raise ValueError(_render_write_error(path, error)) from None

    @property
    def has_word_times(self) -> bool:
        """Whether words have times in it."""
        return self._format is not OutputFormat.TXT

    def update_if_due(self, transcript: StreamTranscript) -> None:
        """Write what is there, unless that was done a moment ago.

        Raises:
            ValueError: It cannot be written.
        """
        begun = time.monotonic()
        if begun < self._next_write or (self._stream is not None and not self._stream.seekable()):
            return
        self._next_write = begun + _RETRY_SECONDS
        self.write(transcript)
        now = time.monotonic()
        self._next_write = now + max(_MIN_INTERVAL_SECONDS, (now - begun) * _INTERVAL_FACTOR)

    def write(self, transcript: StreamTranscript) -> None:
        """Write what is there.

        Raises:
            ValueError: It cannot be written.
        """
        data = transcript.render_as(self._format).encode()
        try:
            if self._stream is None:
                write_atomically(self.path, data)
            else:
                self._stream.write(data)
                self._stream.flush()
        except OSError as error:
            raise ValueError(_render_write_error(self.path, error)) from None

    def close(self) -> None:
        """Write nothing more; what could not be written is told by then."""
        with suppress(OSError):
            if self._stream is not None:
                self._stream.close()


def _render_write_error(path: Path, error: OSError) -> str:
    return f"{path} cannot be written: {(error.strerror or 'no reason given').lower()}."

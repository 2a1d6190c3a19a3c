"""Collects the frames of a stream and writes the transcript to a file atomically."""

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

#: Errors of a folder in which no file can be created, although its files may be writable.
_PERMISSION_ERRORS = {errno.EACCES, errno.EPERM, errno.EROFS}
#: Seconds before a failed write is retried.
_RETRY_SECONDS = 60.0
#: The least seconds between two writes. A slow write waits ``_INTERVAL_FACTOR`` times its own duration.
_MIN_INTERVAL_SECONDS = 2.0
_INTERVAL_FACTOR = 100


@dataclass(slots=True)
class StreamTranscript:
    """The frames of a stream that make up its transcript."""

    #: In the order of the audio.
    finals: list[Final] = field(default_factory=list)
    #: Corrections of the finals' speakers.
    summaries: list[DiarizationSummary] = field(default_factory=list)
    #: In the order received.
    insights: list[Insight] = field(default_factory=list)
    #: Messages of ``error`` frames, such as for audio that could not be decoded.
    problems: list[str] = field(default_factory=list)
    #: The text of the ``transcript`` frame, or empty before it is received.
    full_text: str = ""

    def add_frame(self, frame: ReceivedFrame) -> None:
        """Add a frame; frames that are not part of a transcript are ignored."""
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
        """Render the transcript, with the speakers corrected by the summaries received."""
        finals = reduce(apply_corrections, self.summaries, self.finals)
        if output_format == "json":
            return render_json(finals, self.insights)
        notes = self.insights[-1:] if output_format is OutputFormat.TXT else []
        return "\n".join([render(finals, output_format.value), *filter(None, map(render_insight, notes))])


class TranscriptFile:
    """Writes a transcript to a file, repeatedly during the stream and once at its end.

    Each write is atomic. An existing file is kept until the first write. A pipe is written once, at the end.

    Args:
        path: The file; its extension selects the format.

    Raises:
        ValueError: The extension is unknown, or the file is not writable; the message is a sentence.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next_write = 0.0
        try:
            self._format = OutputFormat(path.suffix[1:].lower())
        except ValueError:
            extensions = ", ".join(f".{name}" for name in OutputFormat)
            raise ValueError(f"{path}: the file name must end with one of {extensions}.") from None
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
        """Whether the format contains word times."""
        return self._format is not OutputFormat.TXT

    def update_if_due(self, transcript: StreamTranscript) -> None:
        """Write the transcript, unless the last write was too recent.

        Raises:
            ValueError: The file cannot be written; the message is a sentence.
        """
        started = time.monotonic()
        if started < self._next_write or (self._stream is not None and not self._stream.seekable()):
            return
        self._next_write = started + _RETRY_SECONDS
        self.write(transcript)
        now = time.monotonic()
        self._next_write = now + max(_MIN_INTERVAL_SECONDS, (now - started) * _INTERVAL_FACTOR)

    def write(self, transcript: StreamTranscript) -> None:
        """Write the transcript.

        Raises:
            ValueError: The file cannot be written; the message is a sentence.
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
        """Close the file; a write that failed has been reported before."""
        with suppress(OSError):
            if self._stream is not None:
                self._stream.close()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file atomically; keeps its owner and permissions.

    The file is overwritten in place instead if it has hard links, if its owner cannot be kept, or if no file
    can be created in its folder.

    Args:
        path: The file, or a symbolic link to it.
        data: The new content.

    Raises:
        OSError: The file cannot be written. It is unchanged unless it was overwritten in place.
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
    """Replace ``target`` by a new file; return False if permissions prevent that."""
    try:
        number, name = mkstemp(".part", f".{target.stem[:40]}.", target.parent)
    except OSError as error:
        if error.errno not in _PERMISSION_ERRORS:
            raise
        return False
    try:
        with open(number, "wb") as file:  # noqa: PTH123  # opened by its descriptor
            file.write(data)
            file.flush()
            os.fsync(number)  # else a power failure could lose both files
        return _try_move(Path(name), target)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _try_move(part: Path, target: Path) -> bool:
    """Copy the metadata of ``target`` to ``part`` and rename it; return False if that is not permitted."""
    old = target.stat()
    try:
        if (old.st_uid, old.st_gid) != ((new := part.stat()).st_uid, new.st_gid):
            os.chown(part, old.st_uid, old.st_gid)
        shutil.copystat(target, part)
        os.utime(part)
        part.replace(target)
    except OSError:  # another user's file, a mount point, or on Windows an open file
        return False
    return True


def _render_write_error(path: Path, error: OSError) -> str:
    return f"{path} cannot be written: {(error.strerror or 'no reason given').lower()}."

"""A transcript in a file, while it is being spoken."""

import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from echoic.cli.heard import StreamTranscript
from echoic.cli.options import OutputFormat
from echoic.cli.whole import write_atomically

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

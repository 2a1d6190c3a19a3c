"""A transcript in a file, while it is being spoken."""

import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from echoic.cli.heard import Heard
from echoic.cli.options import Form
from echoic.cli.whole import write_whole

#: Seconds until it is tried again after it failed.
_REST = 60.0
#: Seconds between two versions of the file; what is written takes at most a hundredth of the time.
_INTERVAL = 2.0
_SHARE = 100


class Save:
    """Writes what was heard into a file: now and then, and at the end; what is there is always whole.

    An older file stays as it is until there is something to write. A pipe gets it once, at the end.

    Args:
        path: The file; its ending names the format.

    Raises:
        ValueError: The ending names none, or the file cannot be written; the message is a sentence.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._due = 0.0
        try:
            self._form = Form(path.suffix[1:].lower())
        except ValueError:
            forms = ", ".join(f".{form}" for form in Form)
            raise ValueError(f"{path}: the ending names the format, one of {forms}.") from None
        try:
            path.touch()
            self._device: BinaryIO | None = None
            if path.is_file():
                path.open("r+b").close()
            else:
                self._device = path.open("wb")
        except OSError as error:
            raise ValueError(_cannot(path, error)) from None

    @property
    def is_timed(self) -> bool:
        """Whether words have times in it."""
        return self._form is not Form.TXT

    def update(self, heard: Heard) -> None:
        """Write what is there, unless that was done a moment ago.

        Raises:
            ValueError: It cannot be written.
        """
        begun = time.monotonic()
        if begun < self._due or (self._device is not None and not self._device.seekable()):
            return
        self._due = begun + _REST
        self.write(heard)
        now = time.monotonic()
        self._due = now + max(_INTERVAL, (now - begun) * _SHARE)

    def write(self, heard: Heard) -> None:
        """Write what is there.

        Raises:
            ValueError: It cannot be written.
        """
        data = heard.written(self._form).encode()
        try:
            if self._device is None:
                write_whole(self.path, data)
            else:
                self._device.write(data)
                self._device.flush()
        except OSError as error:
            raise ValueError(_cannot(self.path, error)) from None

    def close(self) -> None:
        """Write nothing more; what could not be written is told by then."""
        with suppress(OSError):
            if self._device is not None:
                self._device.close()


def _cannot(path: Path, error: OSError) -> str:
    return f"{path} cannot be written: {(error.strerror or 'no reason given').lower()}."

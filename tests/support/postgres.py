"""A PostgreSQL server of the tests' own, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER = "tests"


def is_available() -> bool:
    """Return whether a server can be started, and spoken to."""
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
                server.send_signal(signal.SIGINT)  # without waiting for whoever is connected
                server.wait(WAIT_SECONDS)


def create_database(address: str, name: str) -> str:
    """Make an empty database; return its URL for SQLAlchemy."""
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
    """Return the path of a program of PostgreSQL, which distributions keep beside the PATH; empty: none."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else "")

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

from support.patience import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER = "tests"


def is_here() -> bool:
    """Return whether a server can be started, and spoken to."""
    programs = ("initdb", "postgres", "pg_isready", "createdb")
    return find_spec("asyncpg") is not None and all(map(_program, programs))


@contextmanager
def postgres() -> Iterator[str]:
    """Serve on a free loopback port while the block runs; yield ``host:port``."""
    with tempfile.TemporaryDirectory(prefix="echoic-postgres-") as folder:
        owner = None
        if os.getuid() == 0:  # it refuses to run as root
            owner = "nobody"
            shutil.chown(folder, owner)
        data = Path(folder) / "data"
        _run("initdb", "-D", str(data), "-A", "trust", "-U", _USER, "--no-sync", user=owner)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off")
        call = [_program("postgres"), "-D", str(data), "-p", str(port)]
        for option in options:
            call += ["-c", option]
        with subprocess.Popen(call, stderr=subprocess.DEVNULL, user=owner, cwd=folder) as server:
            try:
                _wait_for(port, server)
                yield f"127.0.0.1:{port}"
            finally:
                server.send_signal(signal.SIGINT)  # without waiting for whoever is connected
                server.wait(PATIENCE)


def make_database(place: str, name: str) -> str:
    """Make an empty database; return its URL for SQLAlchemy."""
    host, _, port = place.partition(":")
    _run("createdb", "-h", host, "-p", port, "-U", _USER, name)
    return f"postgresql+asyncpg://{_USER}@{place}/{name}"


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        call = [_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "5"]
        if subprocess.run(call, check=False).returncode == 0:
            return
    raise AssertionError("PostgreSQL did not start.")


def _run(program: str, *args: str, user: str | None = None) -> None:
    call = [_program(program), *args]
    subprocess.run(call, check=True, capture_output=True, user=user, timeout=PATIENCE, cwd="/")


def _program(name: str) -> str:
    """Return the path of a program of PostgreSQL, which distributions keep beside the PATH; empty: none."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else "")

"""Runs real servers in processes of their own: one that fails on demand, one that restarts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self

from support.timing import WAIT_SECONDS

STREAM_PATH = "/api/v1/audio/stream/transcribe"

#: The program of ``echoic serve``, told by the environment alone.
SERVE_PROGRAM = """
import os, sys
from echoic.server.process import serve
from echoic.server.settings.load import load_settings
serve(load_settings(None, os.environ))
"""


class ServerProcess:
    """``serve`` in a process; ``address`` is its ``host:port`` once it said that it is ready.

    Args:
        program: Another program that serves.
        wrapper: The command that runs it, before the interpreter.
        **settings: As in the environment, names without the prefix.
    """

    def __init__(self, program: str = SERVE_PROGRAM, wrapper: Sequence[str] = (), **settings: str) -> None:
        given = {"port": "0", "scripted_engine": "yes", "preload_model": "scripted"}
        given |= {"falling_behind_seconds": "600"} | settings  # a busy machine is late
        self._logs_json = given.get("log_format") == "json"
        env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
        env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        env |= {"ECHOIC_" + name.upper(): value for name, value in given.items()}
        # Not a pipe: one that nobody reads would stop a server that logs much.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=env,
        )
        self.stdout_lines: list[str] = []

    @cached_property
    def address(self) -> str:
        """Wait until it is ready; return where."""
        if self._logs_json:
            return self._read_logged_address()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.stdout_lines.append(line.rstrip())
            if found := re.search(r"wss?://(\S+?)/", line):
                return found[1]
        raise AssertionError(f"it never said where it is: {self.stdout_lines}")

    def _read_logged_address(self) -> str:
        while self.process.poll() is None:
            log = os.pread(self._log.fileno(), 1_000_000, 0).decode()  # its place in the file is the server's
            if found := re.search(r'"server.started", "url": "wss?://(\S+?)/', log):
                return found[1]
            time.sleep(0.01)  # a file has no event
        raise AssertionError("it ended before it said where it is")

    def wait_for_exit(self) -> tuple[int, str]:
        """Wait until the process ends; return its exit code and log. ``stdout_lines`` is then complete."""
        out, _ = self.process.communicate(timeout=WAIT_SECONDS)
        self.stdout_lines += out.splitlines()
        self._log.seek(0)
        return self.process.returncode, self._log.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=WAIT_SECONDS)
        self._log.close()


def read_resident_mib(process: int) -> float:
    """Return the memory that a process occupies; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text("ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


class RestartableServer:
    """A server; made by ``run_restartable_server``.

    Args:
        program: As ``ServerProcess``.
        **settings: The same.
    """

    def __init__(self, program: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._program = program
        # Starting takes a busy machine long: so long clients try.
        self._settings = {"resume_seconds": "240"} | settings | {"port": str(port)}
        self._server = ServerProcess(program, **self._settings)
        #: Where it is.
        self.address = self._server.address
        self.start_count = 1

    def kill(self) -> None:
        """``kill -9``."""
        self._server.process.kill()
        self.wait_for_exit()

    def stop(self) -> None:
        """Have it deliver what it heard, and end."""
        self._server.process.terminate()
        self.wait_for_exit()

    def wait_for_exit(self) -> None:
        """Wait until it died."""
        self._server.process.wait(WAIT_SECONDS)

    def start(self) -> None:
        """Start another."""
        self.close()
        self._server = ServerProcess(self._program, **self._settings)
        assert self._server.address == self.address
        self.start_count += 1

    def close(self) -> None:
        """Leave nothing."""
        self._server.__exit__()


@contextmanager
def run_restartable_server(program: str = SERVE_PROGRAM, **settings: str) -> Iterator[RestartableServer]:
    """Yield a server that is there; it is ended with the block."""
    server = RestartableServer(program, **settings)
    try:
        yield server
    finally:
        server.close()


#: A program for ``ServerProcess``. Its model ``scripted``
#:
#: - fails at "quebec", and takes its thread down at "yankee";
#: - hangs at "xray", and at the first "whiskey";
#: - fails whatever it is given after "zulu", until it is loaded anew;
#: - takes the process down at "victor", unless the file FAULTY_ONCE is there, which it makes.
#:
#: The model ``steady`` does none of it.
FAULTY_PROGRAM = """
import os, threading
from pathlib import Path
from echoic.engines.registry import Registry, ModelSpec
from echoic.engines.scripted import ScriptedEngine
from echoic.server.process import serve
from echoic.server.settings.load import load_settings

hung = []

def fail():
    raise RuntimeError("as the test wishes")

def hang():
    threading.Event().wait()

def hang_once():
    if not hung:
        hung.append(True)
        hang()

def exit_thread():
    raise SystemExit("as the test wishes")

def crash():
    once = Path(os.environ["FAULTY_ONCE"])
    if not once.exists():
        once.touch()
        os.abort()

class Faulty(ScriptedEngine):
    def __init__(self):
        hooks = {"quebec": fail, "xray": hang, "whiskey": hang_once, "yankee": exit_thread, "victor": crash}
        super().__init__(word_hooks={**hooks, "zulu": self.sicken})
        self.sick = False

    def sicken(self):
        self.sick = True

    def decode(self, windows):
        if self.sick:
            fail()
        return super().decode(windows)

seats = [
    ModelSpec("scripted", "scripted", "standard", lambda: None, Faulty),
    ModelSpec("steady", "steady", "standard", lambda: None, ScriptedEngine),
]
serve(load_settings(None, os.environ), Registry(seats, "scripted"))
"""

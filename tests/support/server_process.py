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

#: The program of ``echoic serve``, with settings from the environment alone.
SERVE_PROGRAM = """
import os, sys
from echoic.server.process import serve
from echoic.server.settings.load import load_settings
serve(load_settings(None, os.environ))
"""


class ServerProcess:
    """A server in a process; ``address`` is its ``host:port``, available once it is ready.

    Args:
        program: Python code that starts the server.
        wrapper: The words of the command before the interpreter.
        **settings: Environment variables, by their names without the prefix.
    """

    def __init__(self, program: str = SERVE_PROGRAM, wrapper: Sequence[str] = (), **settings: str) -> None:
        given = {"port": "0", "scripted_engine": "yes", "preload_model": "scripted"}
        given |= {"falling_behind_seconds": "600"} | settings  # a busy machine falls behind
        self._logs_json = given.get("log_format") == "json"
        env = {name: value for name, value in os.environ.items() if not name.startswith("ECHOIC_")}
        env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
        env |= {"ECHOIC_" + name.upper(): value for name, value in given.items()}
        # Not a pipe: an unread one would block a server that logs much.
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
        """Wait until the server is ready; return its ``host:port``."""
        if self._logs_json:
            return self._read_logged_address()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.stdout_lines.append(line.rstrip())
            if found := re.search(r"wss?://(\S+?)/", line):
                return found[1]
        raise AssertionError(f"the server printed no address: {self.stdout_lines}")

    def _read_logged_address(self) -> str:
        while self.process.poll() is None:
            log = os.pread(
                self._log.fileno(), 1_000_000, 0
            ).decode()  # pread leaves the server's file position alone
            if found := re.search(r'"server.started", "url": "wss?://(\S+?)/', log):
                return found[1]
            time.sleep(0.01)  # a file has no event
        raise AssertionError("the server ended before it logged its address")

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
    """Return the resident memory of a process in MiB; 0 on systems without /proc."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text("ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


class RestartableServer:
    """A server that can be killed and started again at the same port.

    Args:
        program: As of ``ServerProcess``.
        **settings: The same.
    """

    def __init__(self, program: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._program = program
        # Clients retry for this long: a start takes long on a busy machine.
        self._settings = {"resume_seconds": "240"} | settings | {"port": str(port)}
        self._server = ServerProcess(program, **self._settings)
        #: Its ``host:port``.
        self.address = self._server.address
        self.start_count = 1

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self._server.process.kill()
        self.wait_for_exit()

    def stop(self) -> None:
        """Stop the process with SIGTERM: it delivers its finals first."""
        self._server.process.terminate()
        self.wait_for_exit()

    def wait_for_exit(self) -> None:
        """Wait until the process ends."""
        self._server.process.wait(WAIT_SECONDS)

    def start(self) -> None:
        """Start another process at the same port."""
        self.close()
        self._server = ServerProcess(self._program, **self._settings)
        assert self._server.address == self.address
        self.start_count += 1

    def close(self) -> None:
        """Kill the process if it runs."""
        self._server.__exit__()


@contextmanager
def run_restartable_server(program: str = SERVE_PROGRAM, **settings: str) -> Iterator[RestartableServer]:
    """Run a server for the time of the block."""
    server = RestartableServer(program, **settings)
    try:
        yield server
    finally:
        server.close()


#: A program for ``ServerProcess``. Its model ``scripted``
#:
#: - fails at "quebec", and ends its thread at "yankee";
#: - hangs at "xray", and at the first "whiskey";
#: - fails every decode after "zulu", until it is loaded again;
#: - aborts the process at "victor", unless the file FAULTY_ONCE exists; it creates the file.
#:
#: The model ``steady`` never fails.
FAULTY_PROGRAM = """
import os, threading
from pathlib import Path
from echoic.engines.registry import Registry, ModelSpec
from echoic.engines.scripted import ScriptedEngine
from echoic.server.process import serve
from echoic.server.settings.load import load_settings

hung = []

def fail():
    raise RuntimeError("as scripted")

def hang():
    threading.Event().wait()

def hang_once():
    if not hung:
        hung.append(True)
        hang()

def exit_thread():
    raise SystemExit("as scripted")

def crash():
    once = Path(os.environ["FAULTY_ONCE"])
    if not once.exists():
        once.touch()
        os.abort()

class Faulty(ScriptedEngine):
    def __init__(self):
        hooks = {"quebec": fail, "xray": hang, "whiskey": hang_once, "yankee": exit_thread, "victor": crash}
        super().__init__(word_hooks={**hooks, "zulu": self.break_down})
        self.is_broken = False

    def break_down(self):
        self.is_broken = True

    def decode(self, windows):
        if self.is_broken:
            fail()
        return super().decode(windows)

specs = [
    ModelSpec("scripted", "scripted", "standard", lambda: None, Faulty),
    ModelSpec("steady", "steady", "standard", lambda: None, ScriptedEngine),
]
serve(load_settings(None, os.environ), Registry(specs, "scripted"))
"""

"""A real server in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        """Wait until it ends; return its exit code and what it logged; ``stdout_lines`` then holds all it said."""
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

"""Runs the server under test as a child process on a free port and measures it from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from echoic.protocol.constants import STREAM_PATH
from tools.benchmarks.report import ROOT
from tools.benchmarks.server import BARE_PATH, ECHO_PATH, STATE_PATH

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PLACE = re.compile(r"ws://(127\.0\.0\.1:\d+)")


class ServerStartError(Exception):
    """The server under test did not start."""


class BenchmarkServer:
    """The server under test, as a context manager.

    Args:
        *options: Of ``python -m tools.benchmarks.server``.
    """

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.benchmarks.server", *self._options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=build_child_environment(),
        )
        try:
            self.address = self._wait_for_greeting()
        except BaseException:
            self._stop_process()
            raise
        self.url = f"ws://{self.address}{STREAM_PATH}"
        self.bare_url = f"ws://{self.address}{BARE_PATH}"
        self.echo_url = f"ws://{self.address}{ECHO_PATH}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_process()

    def _wait_for_greeting(self) -> str:
        lines = self._process.stdout
        ends = time.monotonic() + _START_SECONDS
        while lines and time.monotonic() < ends and (line := lines.readline()):
            if found := _PLACE.search(line):
                return found[1]
        raise ServerStartError("the server under test did not start")

    def _stop_process(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of all threads so far, in steps of 10 ms."""
        fields = self._build_proc_path("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK

    @property
    def rss_bytes(self) -> int:
        """Resident memory in bytes."""
        return int(self._build_proc_path("statm").read_text().split()[1]) * _PAGE

    @property
    def open_file_count(self) -> int:
        """Number of open files and sockets."""
        return len(os.listdir(self._build_proc_path("fd")))  # noqa: PTH208  # only the count is needed

    def read_state(self) -> dict[str, int]:
        """Return the numbers of streams, sessions, connections, queued and running windows, and tasks."""
        with urllib.request.urlopen(f"http://{self.address}{STATE_PATH}", timeout=30) as answer:
            found: dict[str, int] = json.load(answer)
            return found

    async def wait_for_streams(self, streams: int) -> None:
        """Wait until the server has exactly ``streams`` streams.

        Raises:
            TimeoutError: The number is not reached within half a minute.
        """
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(self.read_state))["streams"] != streams:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)

    def _build_proc_path(self, name: str) -> Path:
        return Path(f"/proc/{self._process.pid}/{name}")


def build_child_environment() -> dict[str, str]:
    """Return an environment for child processes: without settings, sources first, one thread a library."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("ECHOIC_")}
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [keep.get("PYTHONPATH")])]
    return {
        **keep,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
    }

"""A server under test as a child process, on a free port: measured from outside, stopped by its id."""

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
from typing import TYPE_CHECKING, Self

from benchmarks.report import ROOT
from benchmarks.server import BARE_PATH, ECHO_PATH, STATE_PATH
from echoic.server.routes import STREAM_PATH

if TYPE_CHECKING:
    from types import TracebackType

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_PLACE = re.compile(r"ws://(127\.0\.0\.1:\d+)")


class NoServer(Exception):
    """The server under test did not start."""


class Server:
    """The server under test; a context manager.

    Args:
        *options: Of ``python -m benchmarks.server``.
    """

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *self._options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=child_environment(),
        )
        try:
            self.place = self._wait_for_greeting()
        except BaseException:
            self._stop()
            raise
        self.url = f"ws://{self.place}{STREAM_PATH}"
        self.bare_url = f"ws://{self.place}{BARE_PATH}"
        self.echo_url = f"ws://{self.place}{ECHO_PATH}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _wait_for_greeting(self) -> str:
        lines = self._child.stdout
        ends = time.monotonic() + _START_SECONDS
        while lines and time.monotonic() < ends and (line := lines.readline()):
            if found := _PLACE.search(line):
                return found[1]
        raise NoServer("the server under test did not start")

    def _stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has used, all threads together, in steps of 10 ms."""
        fields = self._proc("stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK

    @property
    def rss(self) -> int:
        """Bytes of memory that it occupies."""
        return int(self._proc("statm").read_text().split()[1]) * _PAGE

    @property
    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(self._proc("fd")))  # noqa: PTH208  # a count is all that is wanted

    def state(self) -> dict[str, int]:
        """Return what it holds: streams, sessions, connections, queued and running windows, tasks."""
        with urllib.request.urlopen(f"http://{self.place}{STATE_PATH}", timeout=30) as answer:
            found: dict[str, int] = json.load(answer)
            return found

    async def holds(self, streams: int) -> None:
        """Wait until it has so many streams.

        Raises:
            TimeoutError: It has not within half a minute.
        """
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(self.state))["streams"] != streams:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self._child.pid}/{name}")


def child_environment() -> dict[str, str]:
    """Return the environment of a child: this one's, the source first, one thread a library."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("ECHOIC_")}
    paths = [str(ROOT / "src"), str(ROOT), *filter(None, [keep.get("PYTHONPATH")])]
    return {
        **keep,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": "1",
    }

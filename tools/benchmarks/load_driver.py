"""Runs phases of load against a server process and reports delays, missed finals and resources."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tools.benchmarks import report
from tools.benchmarks.load_results import LoadResult
from tools.benchmarks.process import BenchmarkServer, build_child_environment

#: Seconds between two samples of the server's memory.
_SAMPLE_SECONDS = 0.5
#: Seconds that clients in another process may take longer than planned.
_GRACE_SECONDS = 60.0

#: Streams to a URL and returns what the clients measured.
Load = Callable[[str], Awaitable[LoadResult]]


@dataclass(slots=True)
class Phase:
    """One load, what its clients measured, and what the server used meanwhile."""

    name: str
    result: LoadResult
    #: Processor seconds of the server per second.
    server_cores: float = 0.0
    #: Bytes of memory of the server, sampled twice a second.
    memory: Sequence[int] = ()


#: Heading of a column, and its cell for a phase.
Column = tuple[str, Callable[[Phase], report.Cell]]


def run_phase(server: BenchmarkServer, name: str, load: Load) -> Phase:
    """Run a load and measure the server meanwhile."""
    return asyncio.run(_run_phase(server, name, load))


async def _run_phase(server: BenchmarkServer, name: str, load: Load) -> Phase:
    memory: list[int] = []
    sampling = asyncio.create_task(_sample_memory(server, memory))
    used, began = server.cpu_seconds, time.perf_counter()
    result = await load(server.url)
    cores = (server.cpu_seconds - used) / (time.perf_counter() - began)
    sampling.cancel()
    with suppress(asyncio.CancelledError):
        await sampling
    return Phase(name, result, cores, memory)


async def _sample_memory(server: BenchmarkServer, memory: list[int]) -> None:
    while True:
        memory.append(server.rss_bytes)
        await asyncio.sleep(_SAMPLE_SECONDS)


class BackgroundClients:
    """Clients in a process of their own, started by ``run_in_background``."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._process, self._seconds = process, seconds

    def wait(self) -> str:
        """Wait until the clients are done and return what they printed."""
        out, _ = self._process.communicate(timeout=self._seconds + _GRACE_SECONDS)
        return out


@contextmanager
def run_in_background(
    server: BenchmarkServer, kind: str, streams: int, seconds: float, *more: str
) -> Iterator[BackgroundClients]:
    """Run ``python -m tools.benchmarks.clients`` until the block ends.

    Args:
        server: The server.
        kind: ``crowd`` or ``flood``.
        streams: Number of clients.
        seconds: How long they stream.
        *more: Further arguments of the program.
    """
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tools.benchmarks.clients",
            kind,
            server.url,
            str(streams),
            str(seconds),
            *more,
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=report.ROOT,
        env=build_child_environment(),
    )
    try:
        yield BackgroundClients(process, seconds)
    finally:
        process.kill()  # does nothing once the process has ended
        process.wait()


def report_phases(
    part: str, title: str, phases: Sequence[Phase], columns: Sequence[Column], facts: Mapping[str, object]
) -> None:
    """Print a table with a row per phase and save it as JSON.

    Args:
        part: Name of the part of the benchmarks.
        title: Title of the table.
        phases: The rows.
        columns: Headings and cells after the name of the phase.
        facts: Further keys of the JSON file.
    """
    header = ["case", *(heading for heading, _ in columns)]
    rows = [[phase.name, *(cell(phase) for _, cell in columns)] for phase in phases]
    report.print_table(title, header, rows)
    report.save_results(part, {**facts, "cases": [dict(zip(header, row, strict=True)) for row in rows]})

"""Time from ``git clone`` over ``make run`` to the first words on the page, in steps.

It wants git, make, a Chromium, and what the tests take. What is installed comes from where pip gets it on
this machine; a slow line makes the second step longer.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from echoic.cli.demo import find_demo_recording
from echoic.media import read_audio
from tools.benchmarks import report

_ADDRESS = re.compile(r"http://[\w.:]+/?")
#: Seconds of the recording that the microphone plays.
_SPEECH = 12.0
#: Longest time of a step in seconds.
_PATIENCE = 1_200.0


class StepTimer:
    """Steps and their durations."""

    def __init__(self) -> None:
        self.rows: list[list[report.Cell]] = []
        self._began = self._last = time.perf_counter()

    def mark_done(self, step: str) -> None:
        """Record the end of a step."""
        now = time.perf_counter()
        self.rows.append([step, now - self._last, now - self._began])
        self._last = now


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    from web.page import CHROMIUM  # noqa: PLC0415  # tests are on the path only when benchmarks run

    if quick or CHROMIUM is None:
        print("  Skipped: it installs everything again and needs Chromium.")
        return
    steps = StepTimer()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "echoic"
        subprocess.run(["git", "clone", "--quiet", str(report.ROOT), str(place)], check=True)  # noqa: S607
        steps.mark_done("git clone")
        program = _start_server(place)
        try:
            address = next(found[0] for line in _read_lines(program) if (found := _ADDRESS.search(line)))
            steps.mark_done("make run, until it prints the page's address")
            asyncio.run(_time_page_visit(address, Path(folder), steps))
        finally:
            os.killpg(program.pid, signal.SIGINT)
            program.wait(60)
    report.print_table("From nothing to the first words", ["step", "s", "in all"], steps.rows)
    report.save_results(
        "first_words", {"steps": [{"step": a, "seconds": b, "at": c} for a, b, c in steps.rows]}
    )


def _start_server(place: Path) -> subprocess.Popen[str]:
    make = shutil.which("make") or "make"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ECHOIC_")}
    return subprocess.Popen(
        [make, "run"],
        cwd=place,
        env={**environment, "ECHOIC_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _read_lines(program: subprocess.Popen[str]) -> Iterator[str]:
    ends = time.monotonic() + _PATIENCE
    while program.stdout and time.monotonic() < ends and (line := program.stdout.readline()):
        yield line


async def _time_page_visit(address: str, folder: Path, steps: StepTimer) -> None:
    from playwright.async_api import expect  # noqa: PLC0415  # of the tests' packages

    from web.page import RATE, open_page, write_wav  # noqa: PLC0415

    recording = find_demo_recording()
    if recording is None:
        raise FileNotFoundError("The recording comes with moonshine-voice.")
    samples = np.concatenate(list(read_audio(recording, RATE)))[: round(_SPEECH * RATE)]
    speech = write_wav(folder / "speech.wav", samples)
    async with open_page(address, speech=speech, options={}) as visit:
        await expect(visit.page.locator("#model")).not_to_contain_text("Asking")
        steps.mark_done("the page is open and knows the models")
        await visit.start()
        steps.mark_done("the microphone is on")
        await expect(visit.page.locator("#transcript")).to_contain_text(re.compile(r"\w"))
        steps.mark_done("the first word")
        await expect(visit.page.locator(".part").first).to_contain_text(re.compile(r"\w"))
        steps.mark_done("the first words that are final")
        await visit.stop()

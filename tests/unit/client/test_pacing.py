"""Tests of pacing audio, in virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from echoic.client import pacing

RATE = 16_000


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock: time passes only in pauses, which are recorded."""
    recorded: list[float] = []

    async def sleep(seconds: float) -> None:
        recorded.append(seconds)

    # The module's own names: servers in other threads sleep by the real ones.
    monkeypatch.setattr(pacing, "time", SimpleNamespace(perf_counter=lambda: sum(recorded)))
    monkeypatch.setattr(pacing, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))
    return recorded


async def collect_sizes(speed: float | None) -> list[int]:
    chunks = iter([np.zeros(RATE, np.float32), np.zeros(RATE // 2, np.float32)])
    return [len(chunk) async for chunk in pacing.pace_audio(chunks, RATE, speed)]


@pytest.mark.parametrize(("speed", "expected"), [(1.0, [1.0, 0.5]), (2.0, [0.5, 0.25]), (None, [])])
async def test_a_chunk_comes_when_its_last_sample_was_spoken(
    pauses: list[float], speed: float | None, expected: list[float]
) -> None:
    assert await asyncio.wait_for(collect_sizes(speed), 60) == [RATE, RATE // 2]
    assert pauses == pytest.approx(expected)

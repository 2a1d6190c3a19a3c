"""Kills and restarts Redis during streams."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any

from echoic.engines.scripted import draw_words
from support.database_servers import ValkeyServer
from support.server_process import ServerProcess
from support.stream_audio import stream_audio

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.stream_audio import ReceivedFrames

LIMITS = json.dumps({"local": {"daily_minutes": 100, "concurrent_streams": 3}})
AUDIO = draw_words(["one", "two", "three", "four"] * 15)


def fetch(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}") as answer:  # our own server
        return str(answer.read().decode())


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(condition):
            pass


async def test_a_redis_outage_stops_no_stream_and_bills_once() -> None:
    with ValkeyServer() as redis, ServerProcess(redis_url=redis.url, tier_limits=LIMITS) as server:
        address = server.address
        url = f"ws://{address}"

        def is_away() -> bool:
            return "\nechoic_quota_store_away 1.0" in fetch(address, "/metrics")

        async def fault(number: int) -> None:
            if number == 15:
                await asyncio.to_thread(redis.kill)
                await wait_until(is_away)
            if number == 30:
                meanwhile.append(await stream_audio(url, AUDIO))
                assert json.loads(fetch(address, "/readyz"))["quota_store"] == "away"
                await asyncio.to_thread(redis.start)
                await wait_until(lambda: not is_away())

        meanwhile: list[ReceivedFrames] = []
        unbroken = await stream_audio(url, AUDIO)
        during = await stream_audio(url, AUDIO, fault)
        assert during.finals == unbroken.finals
        assert during.transcripts == unbroken.transcripts
        assert [one.finals for one in meanwhile] == [unbroken.finals]
        assert during.errors == []

        def fetch_limits() -> dict[str, Any]:
            body: dict[str, Any] = json.loads(fetch(address, "/api/v1/audio/stream/limits"))
            return body

        await wait_until(lambda: fetch_limits()["active_streams"] == 0)
        minutes = 3 * len(AUDIO) / 16_000 / 60
        await wait_until(lambda: abs(fetch_limits()["used_today_minutes"] - minutes) < 1e-6)

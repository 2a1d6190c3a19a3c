"""The wall clock jumps by hours, and over midnight, during a stream."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from echoic.client import ServerError, connect
from echoic.engines.scripted import draw_words
from support.builders import make_key_in
from support.server_process import ServerProcess
from support.stream_audio import stream_audio
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoic.client import Stream

AUDIO = draw_words(["one", "two", "three", "four", "five"] * 10)
SECONDS = len(AUDIO) / 16_000
HOUR = timedelta(hours=1)
LIMITS = json.dumps({"standard": {"daily_minutes": 100, "concurrent_streams": 3}})


def find_libfaketime() -> Path | None:
    """Return libfaketime, of the system or of the wheel."""
    wheel = find_spec("libfaketime")
    places = [Path("/usr/lib"), *([Path(wheel.origin).parent] if wheel and wheel.origin else [])]
    return next((file for place in places for file in place.rglob("libfaketime.so.1")), None)


LIBFAKETIME = find_libfaketime()
pytestmark = pytest.mark.skipif(LIBFAKETIME is None, reason="needs libfaketime")


class FakeClock:
    """A server's wall clock: the real one plus an offset. Its monotonic clock is not changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.move(timedelta())

    @property
    def wrapper(self) -> Sequence[str]:
        """The command in front of the server."""
        return (
            "env",
            f"LD_PRELOAD={LIBFAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_FORCE_MONOTONIC_FIX=0",  # otherwise threads that wait with a timeout spin
            "FAKETIME_NO_CACHE=1",
        )

    def move(self, by: timedelta) -> None:
        """Set the offset from the real clock."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{by.total_seconds():+.0f}\n")
        new.replace(self._file)  # atomic: the server may read it at any moment


def fetch_limits(address: str, key: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://{address}/api/v1/audio/stream/limits", headers={"X-API-KEY": key}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # our own server
        body: dict[str, Any] = json.loads(answer.read())
    return body


async def test_clock_jumps_change_no_final(
    tmp_path: Path,
) -> None:
    clock = FakeClock(tmp_path / "clock")
    key = await make_key_in(tmp_path / "keys.db", tier="standard")
    now = datetime.now(UTC)
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC) - now
    jumps = {10: timedelta(hours=-7), 20: timedelta(hours=-30), 24: timedelta(), 26: midnight + HOUR}
    settings = {"keys_db": str(tmp_path / "keys.db"), "tier_limits": LIMITS, "idle_timeout_seconds": "60"}
    with ServerProcess(wrapper=clock.wrapper, **settings) as server:
        address = server.address
        unbroken = await stream_audio(f"ws://{address}", AUDIO, key=key.text)

        async def jump(number: int) -> None:
            if number in jumps:  # the commit after piece 25 waits for all audio before it
                clock.move(jumps[number])

        again = await stream_audio(f"ws://{address}", AUDIO, jump, key=key.text)
        body = await asyncio.to_thread(fetch_limits, address, key.text)
    assert again.finals == unbroken.finals
    assert again.transcripts == unbroken.transcripts
    assert again.errors == []
    assert body["used_today_minutes"] * 60 == pytest.approx(SECONDS * 24 / 50, abs=0.01)  # of the new day
    assert body["active_streams"] == 0


async def test_waits_do_not_use_the_wall_clock(tmp_path: Path) -> None:
    clock = FakeClock(tmp_path / "clock")
    with ServerProcess(wrapper=clock.wrapper, idle_timeout_seconds="0.5") as server:
        address = server.address
        clock.move(timedelta(hours=-3))
        async with asyncio.timeout(WAIT_SECONDS), connect(f"ws://{address}", model="scripted") as stream:
            with pytest.raises(ServerError, match="The client sent nothing"):
                await send_until_closed(stream)


async def send_until_closed(stream: Stream) -> None:
    """Send the audio and read frames until the close."""
    await stream.send(AUDIO)
    async for _ in stream:
        pass

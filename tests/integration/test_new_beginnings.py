"""Whatever a client asks for: where the server keeps no session, cuts change no word, id or answer."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from echoic.client import ServerError, connect
from echoic.client import replay as pasts
from echoic.protocol.frames import Error, Final
from support.acts import build_acts
from support.cutting import open_proxy
from support.live import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echoic.client import Stream
    from support.acts import Act
    from support.cutting import CuttableProxy

RATES = (8_000, 16_000, 44_100, 48_000)
CUTS = 4
#: Seconds by which a time may differ where the rate changed: each change is rounded.
ROUNDED = 1e-5


@dataclass
class Told:
    """What a client was told."""

    finals: list[Final] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    async def read(self, stream: Stream) -> None:
        """Take frames until there are no more."""
        async for frame in stream:
            if isinstance(frame, Final):
                self.finals.append(frame)
            elif isinstance(frame, Error):
                self.errors.append(frame.code)


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    free = {"max_audio_rate": "0", "max_messages_per_second": "0"}
    with ServerProcess(resume_sessions="0", **free) as server:
        yield server.address


async def told(place: str, acts: list[Act], cuts: random.Random | None = None) -> tuple[Told, int]:
    """Do it all, cut at random moments; return what came of it, and how many connections it took."""
    told = Told()
    async with open_proxy(place) as (proxy, through), connect(f"ws://{through}", model="scripted") as stream:
        reading = asyncio.create_task(told.read(stream))
        for kind, what in acts:
            if cuts and cuts.random() < 0.15:
                await cut_soon(proxy, cuts)
            told.answers += await do(stream, kind, what)
        stopping = asyncio.create_task(stream.stop())
        if cuts:
            await cut_soon(proxy, cuts)
        told.answers.append(await stopping)
        await reading
        return told, proxy.connection_count


async def do(stream: Stream, kind: str, what: Any) -> list[str]:  # noqa: ANN401  # samples, or what JSON may be
    match kind:
        case "send":
            await stream.send(what)
        case "commit":
            return [await stream.commit()]
        case "reset":
            await stream.commit()  # which finals a reset forgets is a matter of time
            await stream.reset()
        case "ping":
            await stream.ping()
        case "config":
            await stream.configure(what)
        case "bad":  # at once after a good one, whose answer it overtakes
            good = asyncio.create_task(stream.configure({"language": "en"}))
            with pytest.raises(ServerError, match="chunk_duration"):
                await stream.configure({"chunk_duration": -1})
            await good
    return []


async def cut_soon(proxy: CuttableProxy, cuts: random.Random) -> None:
    """Cut while what is done next is on its way."""
    with suppress(TimeoutError):
        await asyncio.wait_for(proxy.audio_seen.wait(), 0.2)
    asyncio.get_running_loop().call_later(cuts.choice((0.0, 0.002, 0.005, 0.02)), proxy.cut_connections)


@pytest.mark.parametrize("rates", [(16_000,), RATES])
@pytest.mark.parametrize("seed", range(5))
async def test_new_beginnings_at_random_moments_change_nothing(
    place: str, seed: int, rates: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pasts, "REPLAY_LEAD", 6.0)  # short: the session is not heard again from its beginning
    chance = random.Random(seed)  # a test's choices  # noqa: S311  # the same tapes each time
    acts = build_acts(chance, rates)
    unbroken, _ = await told(place, acts)
    again, connections = await told(place, acts, chance)
    assert connections > CUTS
    assert len(unbroken.finals) > 10
    assert again.answers == unbroken.answers
    assert again.errors == unbroken.errors == []
    if len(rates) == 1:
        assert again.finals == unbroken.finals
    assert [(one.segment_id, one.text) for one in again.finals] == [
        (one.segment_id, one.text) for one in unbroken.finals
    ]
    for one, other in zip(again.finals, unbroken.finals, strict=True):
        assert one.segment_start == pytest.approx(other.segment_start, abs=ROUNDED)
        assert one.segment_end == pytest.approx(other.segment_end, abs=ROUNDED)

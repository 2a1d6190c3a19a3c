"""Cuts random streams on a server that keeps no session: no word is lost or repeated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from echoic.client import ServerError, Stream, connect, replay
from support.client_actions import build_actions
from support.cuttable_proxy import CuttableProxy, open_proxy
from support.server_process import ServerProcess
from support.stream_audio import ReceivedFrames, assert_in_order

if TYPE_CHECKING:
    from support.client_actions import Act

RATES = (8_000, 16_000, 44_100, 48_000)
CUTS = 4


@pytest.fixture(scope="module")
def server_address() -> Iterator[str]:
    free = {"max_audio_rate": "0", "max_messages_per_second": "0"}
    with ServerProcess(resume_sessions="0", **free) as server:
        yield server.address


async def run_acts(
    server_address: str, acts: list[Act], cuts: random.Random | None = None
) -> tuple[ReceivedFrames, int]:
    """Run all acts, cut at random moments; return the output and the number of connections."""
    output = ReceivedFrames()
    async with (
        open_proxy(server_address) as (proxy, through),
        connect(f"ws://{through}", model="scripted") as stream,
    ):
        reading = asyncio.create_task(output.read_frames(stream))
        for kind, what in acts:
            if cuts and cuts.random() < 0.15:
                await cut_soon(proxy, cuts)
            output.transcripts += await run_act(stream, kind, what)
        stopping = asyncio.create_task(stream.stop())
        if cuts:
            await cut_soon(proxy, cuts)
        output.transcripts.append(await stopping)
        await reading
        return output, proxy.connection_count


async def run_act(stream: Stream, kind: str, what: Any) -> list[str]:  # noqa: ANN401  # samples, or a JSON value
    match kind:
        case "send":
            await stream.send(what)
        case "commit":
            return [await stream.commit()]
        case "reset":
            await stream.commit()  # otherwise timing decides which finals a reset drops
            await stream.reset()
        case "ping":
            await stream.ping()
        case "config":
            await stream.configure(what)
        case "bad":  # right after a valid one: the refusal overtakes its answer
            good = asyncio.create_task(stream.configure({"language": "en"}))
            with pytest.raises(ServerError, match="chunk_duration"):
                await stream.configure({"chunk_duration": -1})
            await good
    return []


async def cut_soon(proxy: CuttableProxy, cuts: random.Random) -> None:
    """Cut the connection while the next act is under way."""
    with suppress(TimeoutError):
        await asyncio.wait_for(proxy.audio_seen.wait(), 0.2)
    asyncio.get_running_loop().call_later(cuts.choice((0.0, 0.002, 0.005, 0.02)), proxy.cut_connections)


@pytest.mark.parametrize("rates", [(16_000,), RATES])
@pytest.mark.parametrize("seed", range(3))
async def test_new_sessions_lose_and_repeat_no_word(
    server_address: str, seed: int, rates: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "REPLAY_LEAD", 6.0)  # short: not all of the stream is replayed
    chance = random.Random(seed)  # noqa: S311  # a test's choices
    acts = build_actions(chance, rates)
    unbroken, _ = await run_acts(server_address, acts)
    again, connections = await run_acts(server_address, acts, chance)
    assert connections > CUTS
    assert len(unbroken.finals) > 10
    assert again.transcripts == unbroken.transcripts
    assert again.errors == unbroken.errors == []
    assert again.text == unbroken.text
    assert_in_order(again.finals)

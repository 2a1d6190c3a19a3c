"""What a session occupies in the server's memory, idle and speaking."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from websockets.asyncio.client import connect

from benchmarks import report
from benchmarks.process import Server
from benchmarks.streams import Script, configure, full_transcript, messages, speak, words

AIM_KB = 100.0
IDLE, SPEAKING = 200, 50


def measure(*, quick: bool) -> None:
    """Measure, print and save; each case has a fresh server, so that none lives on another's memory."""
    seconds = 3.0 if quick else 20.0
    rows: list[list[report.Cell]] = []
    for name, spoken in (("idle, configured", 0.0), ("idle, after 4 s of speech", 4.0)):
        with Server() as server:
            each, kept = asyncio.run(_idle(server, spoken))
            rows.append([name, IDLE, each, each / AIM_KB, kept])
    with Server() as server:
        asyncio.run(_warm(server))
        empty = server.rss / 1000
        for name in (f"speaking for {seconds:g} s", "the same once more"):
            each, kept = asyncio.run(_speaking(server, seconds))
            rows.append([name, SPEAKING, each, each / AIM_KB, kept])
    header = ("sessions", "number", "kB each", "of the aim for idle", "kB kept afterwards")
    report.table(f"Server's memory above {empty:,.0f} kB with nobody there", header, rows)
    figures = [dict(zip(header, row, strict=True)) for row in rows]
    report.save("memory", {"aim_kb_idle": AIM_KB, "empty_kb": empty, "cases": figures})


async def _warm(server: Server) -> None:
    audio = words(4.0)[1]
    await asyncio.gather(*(speak(server.url, Script(audio, pace=4.0)) for _ in range(10)))
    await server.holds(0)


async def _idle(server: Server, spoken: float) -> tuple[float, float]:
    """Return the kB that each idle session adds, and what stays when all are gone.

    Args:
        server: Fresh.
        spoken: Seconds that each session said before it fell silent.
    """
    await _warm(server)
    before = server.rss
    said = list(messages(Script(words(spoken)[1])))
    async with AsyncExitStack() as stack:
        for _ in range(IDLE):  # one after another: what is measured is what each keeps, not a burst
            socket = await stack.enter_async_context(connect(server.url, ping_interval=None))
            await configure(socket)
            for message in said:
                await socket.send(message)
            await socket.send('{"type":"commit"}')
            await full_transcript(socket)
        each = (server.rss - before) / IDLE / 1000
    await server.holds(0)
    return each, (server.rss - before) / 1000


async def _speaking(server: Server, seconds: float) -> tuple[float, float]:
    """Return the kB that each speaking session adds at the most, and what stays when all are gone."""
    before = server.rss
    audio = words(seconds)[1]
    scripts = [Script(audio, wait=1.5 * number / SPEAKING) for number in range(SPEAKING)]
    streams = asyncio.gather(*(speak(server.url, script) for script in scripts))
    seen = [server.rss]
    while not streams.done():
        seen.append(server.rss)
        await asyncio.sleep(0.1)
    await streams
    await server.holds(0)
    return (max(seen) - before) / SPEAKING / 1000, (server.rss - before) / 1000

"""Memory of the server per session, idle and streaming, and after a thousand sessions."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from websockets.asyncio.client import connect

from tools.benchmarks import report
from tools.benchmarks.clients import (
    StreamScript,
    draw_script,
    encode_messages,
    send_config,
    stream_script,
    wait_for_transcript,
)
from tools.benchmarks.process import BenchmarkServer

AIM_KB = 100.0
AIM_PERCENT = 5.0
IDLE, SPEAKING = 200, 50
#: Sessions that warm up the allocator, sessions that are measured, and how many run at a time.
WARMING, PASSING, AT_ONCE = 200, 1_000, 20
#: Every third session disconnects abruptly.
_ABRUPT = 3


def measure(*, quick: bool) -> None:
    """Measure, print and save; each case has a new server, so that none reuses memory of another."""
    seconds = 3.0 if quick else 20.0
    rows: list[list[report.Cell]] = []
    for name, spoken in (("idle, configured", 0.0), ("idle, after 4 s of speech", 4.0)):
        with BenchmarkServer() as server:
            each, kept = asyncio.run(_measure_idle(server, spoken))
            rows.append([name, IDLE, each, each / AIM_KB, kept])
    with BenchmarkServer() as server:
        asyncio.run(_warm_up(server))
        empty = server.rss_bytes / 1000
        for name in (f"speaking for {seconds:g} s", "the same once more"):
            each, kept = asyncio.run(_measure_speaking(server, seconds))
            rows.append([name, SPEAKING, each, each / AIM_KB, kept])
    header = ("sessions", "number", "kB each", "of the aim for idle", "kB kept afterwards")
    report.print_table(f"Server's memory above {empty:,.0f} kB without sessions", header, rows)
    figures = [dict(zip(header, row, strict=True)) for row in rows]
    with BenchmarkServer() as server:
        passed = asyncio.run(_measure_turnover(server, PASSING // 5 if quick else PASSING))
    report.print_table(
        f"Server's memory over sessions of 3 s that come and go, {AT_ONCE} at a time, every third abruptly",
        ("sessions before", "and then", "MB before", "MB after", "% more"),
        passed,
    )
    verdict = report.render_verdict(float(str(passed[-1][4])) <= AIM_PERCENT)
    print(f"  At most {AIM_PERCENT:g} % more, once warm: {verdict}")
    report.save_results(
        "memory",
        {
            "aim_kb_idle": AIM_KB,
            "empty_kb": empty,
            "cases": figures,
            "aim_percent": AIM_PERCENT,
            "passing": [
                dict(zip(("warming", "sessions", "mb_before", "mb_after", "percent"), row, strict=True))
                for row in passed
            ],
        },
    )


async def _warm_up(server: BenchmarkServer) -> None:
    audio = draw_script(4.0)[1]
    await asyncio.gather(*(stream_script(server.url, StreamScript(audio, pace=4.0)) for _ in range(10)))
    await server.wait_for_streams(0)


async def _measure_idle(server: BenchmarkServer, spoken: float) -> tuple[float, float]:
    """Return the kB that each idle session adds, and the kB that remain when all have ended.

    Args:
        server: A new server.
        spoken: Seconds of audio that each session sends before it falls silent.
    """
    await _warm_up(server)
    before = server.rss_bytes
    said = list(encode_messages(StreamScript(draw_script(spoken)[1])))
    async with AsyncExitStack() as stack:
        for _ in range(IDLE):  # one after another, so that no burst is measured
            socket = await stack.enter_async_context(connect(server.url, ping_interval=None))
            await send_config(socket)
            for message in said:
                await socket.send(message)
            await socket.send('{"type":"commit"}')
            await wait_for_transcript(socket)
        each = (server.rss_bytes - before) / IDLE / 1000
    await server.wait_for_streams(0)
    return each, (server.rss_bytes - before) / 1000


async def _measure_speaking(server: BenchmarkServer, seconds: float) -> tuple[float, float]:
    """Return the most kB that each streaming session adds, and the kB that remain afterwards."""
    before = server.rss_bytes
    audio = draw_script(seconds)[1]
    scripts = [StreamScript(audio, wait=1.5 * number / SPEAKING) for number in range(SPEAKING)]
    streams = asyncio.gather(*(stream_script(server.url, script) for script in scripts))
    seen = [server.rss_bytes]
    while not streams.done():
        seen.append(server.rss_bytes)
        await asyncio.sleep(0.1)
    await streams
    await server.wait_for_streams(0)
    return (max(seen) - before) / SPEAKING / 1000, (server.rss_bytes - before) / 1000


async def _measure_turnover(server: BenchmarkServer, sessions: int) -> list[list[report.Cell]]:
    """Run two rounds of short sessions and return the memory before and after each.

    Growth in the first round is partly memory that the allocator keeps for reuse; growth in the second round
    would be a leak.
    """
    await _run_sessions(server, WARMING)
    rows: list[list[report.Cell]] = []
    for past in (WARMING, WARMING + sessions):
        before = server.rss_bytes / 1e6
        await _run_sessions(server, sessions)
        after = server.rss_bytes / 1e6
        rows.append([past, sessions, before, after, 100 * (after / before - 1)])
    return rows


async def _run_sessions(server: BenchmarkServer, sessions: int) -> None:
    door = asyncio.Semaphore(AT_ONCE)
    audio = draw_script(3.0)[1]

    async def one(number: int) -> None:
        async with door:
            if number % _ABRUPT:
                await stream_script(server.url, StreamScript(audio, pace=10.0))
            else:
                await _disconnect_abruptly(server.url, StreamScript(audio))

    await asyncio.gather(*(one(number) for number in range(sessions)))
    await server.wait_for_streams(0)


async def _disconnect_abruptly(url: str, script: StreamScript) -> None:
    """Send the audio, then disconnect without a close frame."""
    async with connect(url, compression=None, ping_interval=None) as socket:
        await send_config(socket)
        for message in encode_messages(script):
            await socket.send(message)
        socket.transport.abort()

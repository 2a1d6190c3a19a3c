"""Sends a hundred thousand garbage messages over sockets; counts answers and memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from itertools import islice

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.random_messages import generate_random_messages
from tools.benchmarks import report
from tools.benchmarks.clients import StreamScript, draw_script, stream_script
from tools.benchmarks.process import BenchmarkServer

CONNECTIONS = 8


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    count = 10_000 if quick else 104_000
    with BenchmarkServer() as server:
        asyncio.run(_fuzz_server(server.url, 2_000, seed=1_000))  # warm
        before = server.rss_bytes // 1000
        began = time.perf_counter()
        counts, sent = asyncio.run(_fuzz_server(server.url, count, seed=1))
        took = time.perf_counter() - began
        after = server.rss_bytes // 1000
        text, audio = draw_script(6.0)
        heard = asyncio.run(stream_script(server.url, StreamScript(audio, pace=4.0)))
        serves = " ".join(heard.texts) == text
    rows: list[list[report.Cell]] = [[name, number] for name, number in counts.most_common()]
    report.print_table(f"{sent:,} garbage messages in {CONNECTIONS} connections", ("answer", "times"), rows)
    rate = sent / took
    print(f"  {rate:,.0f} messages/s; RSS {before:,} kB before, {after:,} kB after; ", end="")
    print(f"serves the next client without an error: {report.render_verdict(serves)}")
    facts = {"sent": sent, "per_second": rate, "rss_before_kb": before, "rss_after_kb": after}
    report.save_results("fuzz", {**facts, "answers": dict(counts), "still_serves": serves})


async def _fuzz_server(url: str, count: int, seed: int) -> tuple[Counter[str], int]:
    each = count // CONNECTIONS
    found = await asyncio.gather(
        *(_fuzz_connection(url, each, seed + number) for number in range(CONNECTIONS))
    )
    return sum((answers for answers, _ in found), Counter()), sum(sent for _, sent in found)


async def _fuzz_connection(url: str, count: int, seed: int) -> tuple[Counter[str], int]:
    """Send garbage through one connection; if the server closes it, continue over another."""
    answers: Counter[str] = Counter()
    source, sent = islice(generate_random_messages(seed), count), 0
    while sent < count:
        async with connect(url, compression=None, ping_interval=None) as socket:
            reader = asyncio.create_task(_count_answers(socket, answers))
            sent += await _send_messages(socket, source, answers)
            await reader
    return answers, sent


async def _send_messages(socket: ClientConnection, source: islice[str | bytes], answers: Counter[str]) -> int:
    sent = 0
    try:
        for message in source:
            sent += 1
            await socket.send(message)
        await socket.send('{"type":"stop"}')
    except ConnectionClosed as closed:
        answers[f"closed by the server {closed.rcvd.code if closed.rcvd else 1006}"] += 1
    return sent


async def _count_answers(socket: ClientConnection, answers: Counter[str]) -> None:
    try:
        async for message in socket:
            frame = json.loads(message)
            answers[f"error {frame['code']}" if frame["type"] == "error" else frame["type"]] += 1
    except ConnectionClosed:
        return

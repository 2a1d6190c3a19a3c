"""Clients that disconnect abruptly at every awkward moment; the server must return to its former state."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from tools.benchmarks import report
from tools.benchmarks.clients import StreamScript, draw_script, encode_messages, stream_script
from tools.benchmarks.process import BenchmarkServer
from tools.benchmarks.raw_clients import BINARY, TEXT, build_client_frame, build_handshake

_AT_ONCE = 20
_CONFIG = b'{"type":"config","model":"scripted"}'
_MOMENTS = (
    "after the TCP connect",
    "in the middle of the handshake",
    "before the config",
    "after the config",
    "in the middle of a message",
    "during a decode",
    "during a long message's decodes",
    "without reading anything",
)


def measure(*, quick: bool) -> None:
    """Measure, print and save."""
    count = 200 if quick else 1_000
    with BenchmarkServer("--batch-cost", "0.02") as server:
        # A warm-up first: memory that the allocator keeps for reuse is no leak.
        warm = asyncio.run(_run_disconnects(server, count, seed=0))
        _wait_until_idle(server)
        before = _read_server_state(server)
        began = time.perf_counter()
        done = asyncio.run(_run_disconnects(server, count, seed=1))
        took = time.perf_counter() - began
        recovery = _wait_until_idle(server)
        after = _read_server_state(server)
        text, audio = draw_script(6.0)
        heard = asyncio.run(stream_script(server.url, StreamScript(audio, pace=4.0)))
        serves = " ".join(heard.texts) == text
    rows: list[list[report.Cell]] = [
        [name, before[name], after[name], after[name] - before[name]] for name in before
    ]
    report.print_table(
        f"{sum(done):,} abrupt disconnects in {took:.1f} s", ("server holds", "before", "after", "more"), rows
    )
    verdict = report.render_verdict(serves)
    print(f"  Settled after {recovery:.1f} s; serves the next client without an error: {verdict}")
    report.save_results(
        "disconnects",
        {
            "moments": dict(zip(_MOMENTS, done, strict=True)),
            "warming_disconnects": sum(warm),
            "before": before,
            "after": after,
            "settled_after_s": recovery,
            "still_serves": serves,
        },
    )


def _read_server_state(server: BenchmarkServer) -> dict[str, int]:
    return {
        **server.read_state(),
        "files and sockets": server.open_file_count,
        "RSS, kB": server.rss_bytes // 1000,
    }


def _wait_until_idle(server: BenchmarkServer) -> float:
    """Wait until the server holds no stream and nothing queued; return the seconds it took."""
    began = time.perf_counter()
    while time.perf_counter() - began < 30:
        state = server.read_state()
        if not (state["streams"] or state["queued"] or state["running"] or state["sessions"]):
            break
        time.sleep(0.1)
    return time.perf_counter() - began


async def _run_disconnects(server: BenchmarkServer, count: int, seed: int) -> list[int]:
    rng = random.Random(seed)  # noqa: S311  # test data
    host, _, port = urlsplit(server.url).netloc.partition(":")
    path = urlsplit(server.url).path
    door = asyncio.Semaphore(_AT_ONCE)
    audio = next(encode_messages(StreamScript(draw_script(40.0)[1], message=40.0)))
    long = audio if isinstance(audio, bytes) else audio.encode()
    done = [0] * len(_MOMENTS)

    async def one(moment: int, pause: float) -> None:
        async with door:
            await asyncio.to_thread(_disconnect_abruptly, (host, int(port)), path, moment, long, pause)
            done[moment] += 1

    await asyncio.gather(*(one(n % len(_MOMENTS), rng.uniform(0, 0.06)) for n in range(count)))
    return done


def _disconnect_abruptly(address: tuple[str, int], path: str, moment: int, long: bytes, pause: float) -> None:
    """Connect, go as far as ``moment``, and disconnect with a reset (no close frame, no FIN)."""
    host, port = address
    plug = socket.create_connection(address, timeout=10)
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with plug:
        if moment == 0:
            return
        request = build_handshake(f"{host}:{port}", path)
        if moment == 1:
            plug.sendall(request[: len(request) // 2])
            return
        plug.sendall(request)
        _read_headers(plug)
        plug.sendall(b"".join(_build_messages(moment, long)))
        time.sleep(pause)


def _build_messages(moment: int, long: bytes) -> Sequence[bytes]:
    config = build_client_frame(TEXT, _CONFIG)
    two_seconds = long[: 4 * 32_000]
    match moment:
        case 2:
            return []
        case 3:
            return [config]
        case 4:
            whole = build_client_frame(BINARY, two_seconds)
            return [config, whole[: len(whole) // 2]]
        case 5:
            return [config, build_client_frame(BINARY, two_seconds)]
        case 6:
            return [config, build_client_frame(BINARY, long)]
        case _:
            return [
                config,
                *([build_client_frame(TEXT, b'{"type":"ping"}')] * 50),
                build_client_frame(BINARY, two_seconds),
            ]


def _read_headers(plug: socket.socket) -> None:
    got = b""
    while b"\r\n\r\n" not in got:
        more = plug.recv(4096)
        if not more:
            return
        got += more

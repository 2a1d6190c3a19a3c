"""The WebSocket layer of a real server: the cases of RFC 6455 on each endpoint.

The Autobahn test suite itself: ``python -m tools.benchmarks autobahn``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from integration.websocket_cases import HELLO, MIB, Case, cases
from support.raw_websocket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    build_close,
    build_fragments,
    build_frame,
)
from support.server_process import ServerProcess, read_resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.raw_websocket import RawServerFrame

CORE = "/core/parakeet/stream"
#: Types of messages that any case may cause in addition to its own.
IGNORED_TYPES = {"partial", "final", "full_transcript"}
#: The growth of a server that receives more than 100 MiB.
MAX_GROWTH_MIB = 16


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Yield the address and the process id of a server; check at the end that no stream is open."""
    with ServerProcess(log_level="error") as running:
        address = running.address
        yield address, running.process.pid
        deadline = time.monotonic() + 20
        while "echoic_streams_active 0.0" not in _fetch_metrics(address):
            assert time.monotonic() < deadline, "streams are still open"
        assert running.process.poll() is None


@pytest.fixture
def fresh_server() -> Iterator[tuple[str, int]]:
    """Yield the address and the process id of a new server."""
    with ServerProcess(log_level="error") as running:
        yield running.address, running.process.pid


@pytest.fixture
def address(server: tuple[str, int]) -> str:
    return server[0]


@pytest.fixture(params=[STREAM_PATH, CORE], ids=["unified", "core"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_legal_frames_are_answered_and_illegal_ones_close(address: str, path: str, case: Case) -> None:
    with _open_configured(address, path) as socket:
        socket.send(*case.sent)
        if case.closes is None:
            frames = _read_until_transcript(socket)
            socket.send(build_close(1000))
        else:
            frames = []
        rest = socket.read_to_close()
    assert [one.close_code for one in rest if one.opcode == CLOSE] == [case.closes or 1000]
    frames += rest
    assert tuple(one.payload for one in frames if one.opcode == PONG) == case.pongs
    assert _list_types(frames) == case.types
    assert _transcribe(address, path) == "one two three"


@pytest.mark.parametrize("size", [8 * MIB + 1, 12 * MIB])
@pytest.mark.parametrize("fragment", [16 * MIB, 65_536])
def test_a_message_over_8_mib_is_frame_too_large(address: str, path: str, size: int, fragment: int) -> None:
    with _open_configured(address, path) as socket:
        for piece in build_fragments(BINARY, bytes(size), fragment):
            socket.send(piece)
        frames = socket.read_to_close()
    assert _list_types(frames) == ("frame_too_large",)
    assert frames[-1].close_code == 1009
    assert _transcribe(address, path) == "one two three"


@pytest.mark.parametrize("fragment", [17 * MIB, MIB])
def test_a_far_too_long_message_is_closed_by_1009(address: str, path: str, fragment: int) -> None:
    with _open_configured(address, path) as socket:
        for piece in build_fragments(TEXT, bytes(17 * MIB), fragment):
            socket.send(piece)
        frames = socket.read_to_close()
    assert [one.close_code for one in frames if one.opcode == CLOSE] in (
        [1009],
        [],
    )  # a reset may overtake it
    assert _transcribe(address, path) == "one two three"


@pytest.mark.parametrize(
    ("headers", "first", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, None, 400),
        ({"Sec-WebSocket-Version": None}, None, 400),
        ({"Sec-WebSocket-Key": None}, None, 400),
        ({"Sec-WebSocket-Key": "abc"}, None, 400),
        ({"Upgrade": "foo"}, None, 404),
        ({"Upgrade": None}, None, 404),
        ({"Connection": "keep-alive"}, None, 404),
        ({"Host": None}, None, 400),
        ({}, "POST", 405),
        ({"X-Long": "y" * 10_000}, None, 431),
    ],
    ids=lambda given: str(given)[:40],
)
def test_an_invalid_handshake_is_refused(
    address: str, path: str, headers: Mapping[str, str | None], first: str | None, status: int
) -> None:
    with RawWebSocket(address, path, headers, f"{first} {path}" if first else None) as socket:
        assert socket.status == status
    assert _transcribe(address, path) == "one two three"


def test_a_long_fragmented_message_is_refused_early(address: str, path: str) -> None:
    with RawWebSocket(address, path, {"X-Longer": "y" * 100_000}) as socket:
        assert socket.status in (400, 431)  # by HTTP, or, where it came at once, by the WebSocket
    assert _transcribe(address, path) == "one two three"


@pytest.mark.parametrize(
    "offer", ["permessage-deflate; client_max_window_bits", "x-webkit-deflate-frame", ";;"]
)
def test_no_extension_is_negotiated(address: str, path: str, offer: str) -> None:
    with RawWebSocket(address, path, {"Sec-WebSocket-Extensions": offer}) as socket:
        assert socket.status == 101
        assert "sec-websocket-extensions" not in socket.headers


def test_fragments_and_pings_between_them_change_no_word(address: str, path: str) -> None:
    audio = draw_words(["alpha", "bravo", "charlie"]).tobytes()
    with _open_configured(address, path) as socket:
        for size in (1_001, 37, 4_096):
            for piece in build_fragments(BINARY, audio, size):
                socket.send(piece, build_frame(PING, b"between"), build_frame(PONG))
            socket.send_message(type="commit")
            assert socket.read_until("full_transcript")["text"] == "alpha bravo charlie"


def test_tiny_fragments_take_no_additional_memory(fresh_server: tuple[str, int]) -> None:
    address, process = fresh_server
    many = build_frame(CONT, b"  ", fin=False) * 1_000
    with _open_configured(address, STREAM_PATH) as socket:
        before = read_resident_mib(process)
        socket.send(build_frame(TEXT, HELLO[:-1], fin=False))
        for _ in range(800):
            socket.send(many)
        socket.send(build_frame(CONT, b"}"))
        socket.read_until("pong")
        assert read_resident_mib(process) < before + MAX_GROWTH_MIB


def test_unread_pongs_are_bounded(fresh_server: tuple[str, int]) -> None:
    address, process = fresh_server
    pings = build_frame(PING, b"p" * 125) * 1_000
    with _open_configured(address, STREAM_PATH) as socket:
        before = read_resident_mib(process)
        for _ in range(300):
            socket.send(pings)
        socket.send(build_frame(PING, b"the last"))
        socket.send_message(type="commit")
        frames = _read_until(socket, "full_transcript")
        assert read_resident_mib(process) < before + MAX_GROWTH_MIB
    assert any(one.payload == b"the last" for one in frames)


def test_clients_that_vanish_in_a_frame_leave_nothing(address: str, path: str) -> None:
    whole = build_frame(BINARY, bytes(4_000))
    for size in (1, 2, 3, 5, 2_000):
        socket = _open_configured(address, path)
        socket.send(whole[:size])
        socket.reset_connection()
    assert _transcribe(address, path) == "one two three"


def _open_configured(address: str, path: str) -> RawWebSocket:
    socket = RawWebSocket(address, path)
    assert socket.status == 101
    socket.send_message(type="config", model="scripted")
    assert socket.read_until("status")["state"] == "configured"
    return socket


def _read_until_transcript(socket: RawWebSocket) -> list[RawServerFrame]:
    socket.send_message(type="commit")
    return _read_until(socket, "full_transcript")


def _read_until(socket: RawWebSocket, kind: str) -> list[RawServerFrame]:
    frames: list[RawServerFrame] = []
    while (one := socket.read_frame()) is not None:
        frames.append(one)
        if one.opcode == TEXT and one.json["type"] == kind:
            break
    return frames


def _list_types(frames: list[RawServerFrame]) -> tuple[str, ...]:
    """Return the types of messages, and the codes of errors."""
    messages = (one.json for one in frames if one.opcode == TEXT)
    kinds = (str(message.get("code", message["type"])) for message in messages)
    return tuple(kind for kind in kinds if kind not in IGNORED_TYPES)


def _transcribe(address: str, path: str) -> str:
    with _open_configured(address, path) as socket:
        socket.send(build_frame(BINARY, draw_words(["one", "two", "three"]).tobytes()))
        socket.send_message(type="stop")
        return str(socket.read_until("full_transcript")["text"])


def _fetch_metrics(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=20) as answer:
        return str(answer.read().decode())

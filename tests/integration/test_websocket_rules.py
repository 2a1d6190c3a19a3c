"""The WebSocket layer as a real server has it: each case of RFC 6455 on each of our endpoints.

The cases of the Autobahn test suite themselves: ``python -m tools.benchmarks autobahn``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from echoic.engines.scripted import draw_words
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
from support.server_process import STREAM_PATH, ServerProcess, read_resident_mib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.raw_websocket import RawServerFrame

CORE = "/core/parakeet/stream"
#: Messages that a case's frames may bring beside what it names.
BESIDE = {"partial", "final", "full_transcript"}
#: MiB by which a server may grow that is sent a hundred and more.
ROOM = 16


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    """Yield its place and its process's id; in the end it holds no stream."""
    with ServerProcess(log_level="error") as running:
        place = running.address
        yield place, running.process.pid
        ends = time.monotonic() + 20
        while "echoic_streams_active 0.0" not in _metrics(place):
            assert time.monotonic() < ends, "streams are left"
        assert running.process.poll() is None


@pytest.fixture
def fresh() -> Iterator[tuple[str, int]]:
    """Yield another server, which has not grown yet."""
    with ServerProcess(log_level="error") as running:
        yield running.address, running.process.pid


@pytest.fixture
def place(server: tuple[str, int]) -> str:
    return server[0]


@pytest.fixture(params=[STREAM_PATH, CORE], ids=["unified", "core"])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_legal_frames_are_answered_and_illegal_ones_close(place: str, path: str, case: Case) -> None:
    with _configured(place, path) as socket:
        socket.send(*case.sent)
        if case.closes is None:
            heard = _until_transcript(socket)
            socket.send(build_close(1000))
        else:
            heard = []
        rest = socket.read_to_close()
    assert [one.close_code for one in rest if one.opcode == CLOSE] == [case.closes or 1000]
    heard += rest
    assert tuple(one.payload for one in heard if one.opcode == PONG) == case.pongs
    assert _said(heard) == case.says
    assert _transcribed(place, path) == "one two three"


@pytest.mark.parametrize("size", [8 * MIB + 1, 12 * MIB])
@pytest.mark.parametrize("fragment", [16 * MIB, 65_536])
def test_a_message_over_8_mib_is_frame_too_large(place: str, path: str, size: int, fragment: int) -> None:
    with _configured(place, path) as socket:
        for piece in build_fragments(BINARY, bytes(size), fragment):
            socket.send(piece)
        heard = socket.read_to_close()
    assert _said(heard) == ("frame_too_large",)
    assert heard[-1].close_code == 1009
    assert _transcribed(place, path) == "one two three"


@pytest.mark.parametrize("fragment", [17 * MIB, MIB])
def test_a_far_too_long_message_is_closed_by_1009(place: str, path: str, fragment: int) -> None:
    with _configured(place, path) as socket:
        for piece in build_fragments(TEXT, bytes(17 * MIB), fragment):
            socket.send(piece)
        heard = socket.read_to_close()
    assert [one.close_code for one in heard if one.opcode == CLOSE] in ([1009], [])  # a reset may overtake it
    assert _transcribed(place, path) == "one two three"


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
    place: str, path: str, headers: Mapping[str, str | None], first: str | None, status: int
) -> None:
    with RawWebSocket(place, path, headers, f"{first} {path}" if first else None) as socket:
        assert socket.status == status
    assert _transcribed(place, path) == "one two three"


def test_a_long_fragmented_message_is_refused_early(place: str, path: str) -> None:
    with RawWebSocket(place, path, {"X-Longer": "y" * 100_000}) as socket:
        assert socket.status in (400, 431)  # by HTTP, or, where it came at once, by the WebSocket
    assert _transcribed(place, path) == "one two three"


@pytest.mark.parametrize(
    "offer", ["permessage-deflate; client_max_window_bits", "x-webkit-deflate-frame", ";;"]
)
def test_no_extension_is_negotiated(place: str, path: str, offer: str) -> None:
    with RawWebSocket(place, path, {"Sec-WebSocket-Extensions": offer}) as socket:
        assert socket.status == 101
        assert "sec-websocket-extensions" not in socket.headers


def test_fragments_and_pings_between_them_change_no_word(place: str, path: str) -> None:
    audio = draw_words(["alpha", "bravo", "charlie"]).tobytes()
    with _configured(place, path) as socket:
        for size in (1_001, 37, 4_096):
            for piece in build_fragments(BINARY, audio, size):
                socket.send(piece, build_frame(PING, b"between"), build_frame(PONG))
            socket.send_message(type="commit")
            assert socket.read_until("full_transcript")["text"] == "alpha bravo charlie"


def test_tiny_fragments_take_no_additional_memory(fresh: tuple[str, int]) -> None:
    place, process = fresh
    many = build_frame(CONT, b"  ", fin=False) * 1_000
    with _configured(place, STREAM_PATH) as socket:
        before = read_resident_mib(process)
        socket.send(build_frame(TEXT, HELLO[:-1], fin=False))
        for _ in range(800):
            socket.send(many)
        socket.send(build_frame(CONT, b"}"))
        socket.read_until("pong")
        assert read_resident_mib(process) < before + ROOM


def test_unread_pongs_are_bounded(fresh: tuple[str, int]) -> None:
    place, process = fresh
    pings = build_frame(PING, b"p" * 125) * 1_000
    with _configured(place, STREAM_PATH) as socket:
        before = read_resident_mib(process)
        for _ in range(300):
            socket.send(pings)
        socket.send(build_frame(PING, b"the last"))
        socket.send_message(type="commit")
        heard = _until(socket, "full_transcript")
        assert read_resident_mib(process) < before + ROOM
    assert any(one.payload == b"the last" for one in heard)


def test_clients_that_vanish_in_a_frame_leave_nothing(place: str, path: str) -> None:
    whole = build_frame(BINARY, bytes(4_000))
    for size in (1, 2, 3, 5, 2_000):
        socket = _configured(place, path)
        socket.send(whole[:size])
        socket.reset_connection()
    assert _transcribed(place, path) == "one two three"


def _configured(place: str, path: str) -> RawWebSocket:
    socket = RawWebSocket(place, path)
    assert socket.status == 101
    socket.send_message(type="config", model="scripted")
    assert socket.read_until("status")["state"] == "configured"
    return socket


def _until_transcript(socket: RawWebSocket) -> list[RawServerFrame]:
    socket.send_message(type="commit")
    return _until(socket, "full_transcript")


def _until(socket: RawWebSocket, kind: str) -> list[RawServerFrame]:
    heard: list[RawServerFrame] = []
    while (one := socket.read_frame()) is not None:
        heard.append(one)
        if one.opcode == TEXT and one.json["type"] == kind:
            break
    return heard


def _said(heard: list[RawServerFrame]) -> tuple[str, ...]:
    """Return the types of messages, of errors the codes."""
    messages = (one.json for one in heard if one.opcode == TEXT)
    kinds = (str(message.get("code", message["type"])) for message in messages)
    return tuple(kind for kind in kinds if kind not in BESIDE)


def _transcribed(place: str, path: str) -> str:
    with _configured(place, path) as socket:
        socket.send(build_frame(BINARY, draw_words(["one", "two", "three"]).tobytes()))
        socket.send_message(type="stop")
        return str(socket.read_until("full_transcript")["text"])


def _metrics(place: str) -> str:
    with urlopen(f"http://{place}/metrics", timeout=20) as answer:
        return str(answer.read().decode())

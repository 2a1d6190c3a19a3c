"""Sessions that wait for their clients: bounded, cut anywhere, and how they end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoic.auth.authenticator import Authenticator
from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.protocol.frames import Resumed
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from echoic.server.stream.endpoint import StreamEndpoint
from echoic.server.stream.outbox import ReplayBuffer
from echoic.server.stream.resume import (
    FinishedSession,
    ResumableSessions,
    ResumePolicy,
    ResumeRequest,
)
from support.memory_socket import MemorySocket
from support.patience import WAIT_SECONDS
from unit.server.stream.test_connection import Doors, assert_nothing_is_left, house_of, metric, quiet

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.app_fixtures import StartApp

CONFIG: dict[str, object] = {
    "type": "config",
    "model": "scripted",
    "resumable": True,
    "enable_partial": False,
}
WORDS = ["one", "two", "three", "four", "five", "six", "seven"]
AUDIO = draw_words([(word, 0.5) for word in WORDS]).tobytes()
THIRD = len(AUDIO) // 12 * 4


def wish(status: dict[str, Any], received: int = 1) -> dict[str, object]:
    return {"type": "config", "resume": status["resume_token"], "received": received}


async def begun(socket: MemorySocket, *messages: dict[str, object] | bytes) -> dict[str, Any]:
    """Configure, send, and see that it arrived; return the status."""
    socket.send(CONFIG)
    status = (await socket.receive_until("status"))[-1]
    for message in messages:
        socket.send(message)
    socket.send({"type": "ping"})
    await socket.receive_until("pong")
    return status


async def emptied(app: FastAPI) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await house_of(app).services.streams.wait_until_empty()


async def left(app: FastAPI) -> None:
    for _ in range(10):  # a session that waited gives its place back on its own
        await asyncio.sleep(0)
    assert_nothing_is_left(app)


async def test_a_session_decodes_while_it_waits_and_keeps_what_it_says(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    async with MemorySocket(app) as socket:
        status = await begun(socket, draw_words([("alpha", 2.0), ("one", 1.0)]).tobytes())
    assert metric(app, "echoic_streams_waiting") == metric(app, "echoic_streams_active") == 1
    doors.open.set()
    async with MemorySocket(app) as socket:
        socket.send(wish(status))
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == "alpha one"
        assert await socket.receive_frame() == {"type": "close", "code": 1000}
    assert metric(app, "echoic_streams_resumed_total") == 1
    assert metric(app, "echoic_streams_total") == metric(app, "echoic_closes_total", code="1000") == 1
    await left(app)


async def test_silent_connections_that_may_have_come_for_a_session_are_bounded(start_app: StartApp) -> None:
    places = asyncio.Semaphore(1)
    app = await start_app()
    endpoint = StreamEndpoint(lambda: house_of(app).services, Authenticator(pending_connections=places))
    async with MemorySocket(app) as first:
        await begun(first)
        async with MemorySocket(endpoint) as silent:
            await quiet(silent)
            assert places.locked()
            async with MemorySocket(endpoint) as other:
                assert (await other.receive_frame())["code"] == "server_busy"
            silent.send({"type": "ping"})
            assert await silent.receive_frame() == {"type": "pong"}
            assert not places.locked()


async def test_more_sessions_than_may_wait_end_with_their_connections(start_app: StartApp) -> None:
    app = await start_app(resume_sessions=1)
    async with MemorySocket(app) as first:
        kept = await begun(first)
    async with MemorySocket(app) as second:
        status = await begun(second)
    assert len(house_of(app).services.streams) == 1
    for one, answer in ((status, "error"), (kept, "status")):
        async with MemorySocket(app) as socket:
            socket.send(wish(one))
            assert (await socket.receive_frame())["type"] == answer
            socket.disconnect(1000)
    await emptied(app)


async def test_a_session_with_more_to_say_than_is_kept_ends(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), resume_bytes=1_024)
    async with MemorySocket(app) as socket:
        await begun(socket, draw_words([("alpha", 2.0), *[("one", 0.5)] * 20]).tobytes())
    doors.open.set()
    await emptied(app)
    assert metric(app, "echoic_closes_total", code="1006") == 1
    await left(app)


async def test_a_farewell_ends_a_session_at_once(app: FastAPI) -> None:
    for code in (1000, 1001):
        async with MemorySocket(app) as socket:
            await begun(socket, AUDIO)
            socket.disconnect(code)
            await socket.wait_until_ended()
        await left(app)


async def test_draining_finalises_sessions_that_wait_and_does_not_wait_for_their_clients(
    app: FastAPI,
) -> None:
    async with MemorySocket(app) as socket:
        await begun(socket, AUDIO)
    async with asyncio.timeout(WAIT_SECONDS):
        await house_of(app).services.streams.drain(WAIT_SECONDS)
    assert metric(app, "echoic_closes_total", code="1001") == 1
    assert metric(app, "echoic_frames_total", direction="out", type="full_transcript") == 1
    await left(app)


async def test_draining_cuts_off_a_session_that_waits_and_is_not_decoded_in_time(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    async with MemorySocket(app) as socket:
        await begun(socket, draw_words([("alpha", 3.0)]).tobytes())
    await house_of(app).services.streams.drain(0.02)
    assert len(house_of(app).services.streams) == 0
    doors.open.set()


async def test_a_session_whose_client_takes_nothing_waits_for_a_better_connection(
    start_app: StartApp,
) -> None:
    app = await start_app(send_timeout_seconds=0.02)
    async with MemorySocket(app) as socket:
        status = await begun(socket)
        socket.may_read.clear()
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        await quiet(socket)
        async with asyncio.timeout(WAIT_SECONDS):
            while not metric(app, "echoic_streams_waiting"):  # noqa: ASYNC110  # a gauge sets no event
                await asyncio.sleep(0.005)
        async with MemorySocket(app) as other:
            other.send(wish(status))
            assert (await other.receive_until("full_transcript"))[-1]["text"] == " ".join(WORDS)
            other.disconnect(1000)


async def test_what_is_sent_over_two_connections_is_billed_once(start_app: StartApp) -> None:
    limits = {"local": {"daily_minutes": 0.05, "concurrent_streams": 1}}
    app = await start_app(tier_limits=limits)
    async with MemorySocket(app) as socket:
        status = await begun(socket, AUDIO[: 8 * 16_000])
    async with MemorySocket(app) as socket:
        socket.send(wish(status))
        socket.send(AUDIO[8 * 16_000 :])
        frames = await socket.receive_until("error")
    assert frames[-1]["quota"] == "daily_minutes"
    assert frames[-1]["used"] == 0.05
    assert [frame["segment_end"] for frame in frames if frame["type"] == "final"][-1] == 3.0


async def test_no_log_holds_a_token(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with MemorySocket(app) as socket:
        status = await begun(socket)
    async with MemorySocket(app) as socket:
        socket.send(wish(status))
        await socket.receive_until("status")
        socket.disconnect(1000)
    assert "stream.resumed" in caplog.text
    assert str(status["resume_token"]).split(".")[1] not in caplog.text


async def test_abrupt_ends_at_any_moment_leave_nothing_behind(start_app: StartApp) -> None:
    app = await start_app(resume_seconds=0.02, resume_sessions=8)
    status: dict[str, Any] = {"resume_token": "x.y"}
    for number in range(150):
        async with MemorySocket(app) as socket:
            if number % 2:
                socket.send(wish(status, 0))
            else:
                socket.send(CONFIG)
                status = (await socket.receive_until("status"))[-1]
            socket.send(AUDIO)
            if number % 5 == 0:
                socket.send({"type": "stop"})
            for _ in range(number % 23):
                await asyncio.sleep(0)
            if number % 3 == 0:
                socket.may_read.clear()
    await emptied(app)
    await left(app)


# ---- cutting anywhere never changes the finals

MESSAGES: list[dict[str, object] | bytes] = [
    *(AUDIO[start : start + THIRD // 4] for start in range(0, THIRD, THIRD // 4)),
    {"type": "commit"},
    AUDIO[THIRD : 2 * THIRD],
    CONFIG | {"chunk_duration": 1.0},
    *(AUDIO[start : start + 4_096] for start in range(2 * THIRD, len(AUDIO), 4_096)),
    {"type": "stop"},
]


async def conversation(app: FastAPI, cuts: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the frames of a session cut, in turn, after so many messages and so many rounds of the loop."""
    sent: list[dict[str, object] | bytes] = [CONFIG, *MESSAGES]
    frames: list[dict[str, Any]] = []
    arrived, received, token = 0, 0, ""
    for messages, rounds in [*cuts, (len(sent), 0)]:
        async with MemorySocket(app) as socket:
            if token:
                socket.send({"type": "config", "resume": token, "received": received})
                told = await socket.receive_frame()
                assert told["state"] == "resumed", told
                arrived = told["received_messages"]
            for message in sent[arrived : arrived + messages]:
                socket.send(message)
            if not token:
                frames += await socket.receive_until("status")
                token = frames[-1]["resume_token"]
            for _ in range(rounds):
                await asyncio.sleep(0)
            last = (messages, rounds) == (len(sent), 0)
            while last or socket.unread_count:
                frame = await socket.receive_frame()
                frames.append(frame)
                if frame["type"] == "close":
                    return frames
            received = frames[-1]["seq"]
    raise AssertionError("it never closed")


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 60)), max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_cutting_anywhere_never_changes_what_is_said(cuts: list[tuple[int, int]]) -> None:
    async def both() -> None:
        seats = [ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)]
        app = build_app(
            Settings.model_validate({"scripted_engine": True, "preload_model": "scripted"}),
            Registry(seats, "scripted"),
        )
        async with app.router.lifespan_context(app):
            whole = await conversation(app, [])
            broken = await conversation(app, cuts)
            assert [without_token(frame) for frame in broken] == [without_token(frame) for frame in whole]
            assert sum(frame["type"] == "final" for frame in whole) >= 3

    asyncio.run(both())


def without_token(frame: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in frame.items() if key not in ("session", "resume_token")}


# ---- the parts


def test_a_record_forgets_the_oldest_and_knows_it() -> None:
    record = ReplayBuffer(1_000)
    texts = [record.add_frame('{"a":1}', keep=number != 2) for number in range(1, 21)]
    assert json.loads(texts[-1]) == {"a": 1, "seq": 20}
    assert record.find_frames_after(20) == []
    assert record.find_frames_after(19) == texts[19:]
    assert record.find_frames_after(21) is None
    assert record.find_frames_after(0) is None
    record.start_holding()
    for _ in range(10):
        record.add_frame('{"a":1}', keep=True)
    assert record.has_overflowed
    assert record.find_frames_after(19) is not None
    record.stop_holding()
    assert record.find_frames_after(19) is None
    assert not record.has_overflowed


async def test_what_is_left_of_sessions_is_bounded() -> None:
    kept = ResumableSessions(ResumePolicy(max_sessions=2))
    tokens = []
    for number in range(5):
        tail = FinishedSession(
            Resumed(session="s", received_messages=0, received_samples=0), ReplayBuffer(1_000), (1000, "")
        )
        tokens.append(kept.add_session(str(number), "anna", tail))
        kept.keep_finished(str(number), tail)
    peer: Any = None
    assert kept.resume_session(ResumeRequest(tokens[-1], 0), "anna", peer)
    with pytest.raises(Exception, match="cannot be resumed"):
        kept.resume_session(ResumeRequest(tokens[0], 0), "anna", peer)
    assert kept.has_sessions("anna")
    for number in range(5):
        kept.forget_session(str(number))
    assert not kept.has_sessions("anna")

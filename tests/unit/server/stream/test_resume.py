"""Sessions that wait for their clients: limits, cuts anywhere, the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.protocol.frames import Resumed
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from echoic.server.stream.outbox import ReplayBuffer
from echoic.server.stream.resume import FinishedSession, ResumePolicy, ResumeRegistry, ResumeRequest
from support.in_memory_app import (
    RESUMABLE_CONFIG,
    assert_all_released,
    build_blocking_registry,
    get_services,
    read_metric,
    start_resumable_stream,
    wait_until_unread,
)
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.in_memory_app import StartApp


WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


AUDIO = draw_words([(word, 0.5) for word in WORDS]).tobytes()


THIRD = len(AUDIO) // 12 * 4


def build_resume(status: dict[str, Any], received: int = 1) -> dict[str, object]:
    return {"type": "config", "resume": status["resume_token"], "received": received}


async def wait_until_empty(app: FastAPI) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await get_services(app).streams.wait_until_empty()


async def check_released(app: FastAPI) -> None:
    for _ in range(10):  # a session that waited gives its place back on its own
        await asyncio.sleep(0)
    assert_all_released(app)


async def test_a_waiting_session_decodes_and_keeps_its_frames(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    async with MemorySocket(app) as socket:
        status = await start_resumable_stream(socket, draw_words([("alpha", 2.0), ("one", 1.0)]).tobytes())
    assert read_metric(app, "echoic_streams_waiting") == read_metric(app, "echoic_streams_active") == 1
    hook.opened.set()
    async with MemorySocket(app) as socket:
        socket.send(build_resume(status))
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == "alpha one"
        assert await socket.receive_frame() == {"type": "close", "code": 1000}
    assert read_metric(app, "echoic_streams_resumed_total") == 1
    assert (
        read_metric(app, "echoic_streams_total") == read_metric(app, "echoic_closes_total", code="1000") == 1
    )
    await check_released(app)


async def test_sessions_above_the_limit_end_with_their_connections(start_app: StartApp) -> None:
    app = await start_app(resume_sessions=1)
    async with MemorySocket(app) as first:
        kept = await start_resumable_stream(first)
    async with MemorySocket(app) as second:
        status = await start_resumable_stream(second)
    assert len(get_services(app).streams) == 1
    for one, answer in ((status, "error"), (kept, "status")):
        async with MemorySocket(app) as socket:
            socket.send(build_resume(one))
            assert (await socket.receive_frame())["type"] == answer
            socket.disconnect(1000)
    await wait_until_empty(app)


async def test_a_waiting_session_with_too_many_frames_ends(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), resume_bytes=1_024)
    async with MemorySocket(app) as socket:
        await start_resumable_stream(socket, draw_words([("alpha", 2.0), *[("one", 0.5)] * 20]).tobytes())
    hook.opened.set()
    await wait_until_empty(app)
    assert read_metric(app, "echoic_closes_total", code="1006") == 1
    await check_released(app)


async def test_a_normal_close_ends_a_resumable_session(app: FastAPI) -> None:
    for code in (1000, 1001):
        async with MemorySocket(app) as socket:
            await start_resumable_stream(socket, AUDIO)
            socket.disconnect(code)
            await socket.wait_until_ended()
        await check_released(app)


async def test_draining_does_not_wait_for_absent_clients(
    app: FastAPI,
) -> None:
    async with MemorySocket(app) as socket:
        await start_resumable_stream(socket, AUDIO)
    async with asyncio.timeout(WAIT_SECONDS):
        await get_services(app).streams.drain(WAIT_SECONDS)
    assert read_metric(app, "echoic_closes_total", code="1001") == 1
    assert read_metric(app, "echoic_frames_total", direction="out", type="full_transcript") == 1
    await check_released(app)


async def test_draining_cuts_off_a_waiting_session(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    async with MemorySocket(app) as socket:
        await start_resumable_stream(socket, draw_words([("alpha", 3.0)]).tobytes())
    await get_services(app).streams.drain(0.02)
    assert len(get_services(app).streams) == 0
    hook.opened.set()


async def test_a_session_outlives_a_connection_that_takes_nothing(
    start_app: StartApp,
) -> None:
    app = await start_app(send_timeout_seconds=0.02)
    async with MemorySocket(app) as socket:
        status = await start_resumable_stream(socket)
        socket.may_read.clear()
        socket.send(AUDIO)
        socket.send({"type": "commit"})
        await wait_until_unread(socket)
        async with asyncio.timeout(WAIT_SECONDS):
            while not read_metric(app, "echoic_streams_waiting"):  # noqa: ASYNC110  # a gauge sets no event
                await asyncio.sleep(0.005)
        async with MemorySocket(app) as other:
            other.send(build_resume(status))
            assert (await other.receive_until("full_transcript"))[-1]["text"] == " ".join(WORDS)
            other.disconnect(1000)


async def test_audio_over_two_connections_is_billed_once(start_app: StartApp) -> None:
    limits = {"local": {"daily_minutes": 0.05, "concurrent_streams": 1}}
    app = await start_app(tier_limits=limits)
    async with MemorySocket(app) as socket:
        status = await start_resumable_stream(socket, AUDIO[: 8 * 16_000])
    async with MemorySocket(app) as socket:
        socket.send(build_resume(status))
        socket.send(AUDIO[8 * 16_000 :])
        frames = await socket.receive_until("error")
    assert frames[-1]["quota"] == "daily_minutes"
    assert frames[-1]["used"] == 0.05
    assert [frame["segment_end"] for frame in frames if frame["type"] == "final"][-1] == 3.0


async def test_no_log_holds_a_token(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with MemorySocket(app) as socket:
        status = await start_resumable_stream(socket)
    async with MemorySocket(app) as socket:
        socket.send(build_resume(status))
        await socket.receive_until("status")
        socket.disconnect(1000)
    assert "stream.resumed" in caplog.text
    assert str(status["resume_token"]).split(".")[1] not in caplog.text


async def test_abrupt_disconnects_and_resumes_leave_nothing_behind(start_app: StartApp) -> None:
    app = await start_app(resume_seconds=0.02, resume_sessions=8)
    status: dict[str, Any] = {"resume_token": "x.y"}
    for number in range(150):
        async with MemorySocket(app) as socket:
            if number % 2:
                socket.send(build_resume(status, 0))
            else:
                socket.send(RESUMABLE_CONFIG)
                status = (await socket.receive_until("status"))[-1]
            socket.send(AUDIO)
            if number % 5 == 0:
                socket.send({"type": "stop"})
            for _ in range(number % 23):
                await asyncio.sleep(0)
            if number % 3 == 0:
                socket.may_read.clear()
    await wait_until_empty(app)
    await check_released(app)


MESSAGES: list[dict[str, object] | bytes] = [
    *(AUDIO[start : start + THIRD // 4] for start in range(0, THIRD, THIRD // 4)),
    {"type": "commit"},
    AUDIO[THIRD : 2 * THIRD],
    RESUMABLE_CONFIG | {"chunk_duration": 1.0},
    *(AUDIO[start : start + 4_096] for start in range(2 * THIRD, len(AUDIO), 4_096)),
    {"type": "stop"},
]


async def run_cut_session(app: FastAPI, cuts: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the frames of a session cut, in turn, after so many messages and so many rounds of the loop."""
    sent: list[dict[str, object] | bytes] = [RESUMABLE_CONFIG, *MESSAGES]
    frames: list[dict[str, Any]] = []
    arrived, received, token = 0, 0, ""
    for messages, rounds in [*cuts, (len(sent), 0)]:
        async with MemorySocket(app) as socket:
            if token:
                socket.send({"type": "config", "resume": token, "received": received})
                status = await socket.receive_frame()
                assert status["state"] == "resumed", status
                arrived = status["received_messages"]
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
def test_cuts_and_resumes_change_no_frame(cuts: list[tuple[int, int]]) -> None:
    async def both() -> None:
        seats = [ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)]
        app = build_app(
            Settings.model_validate({"scripted_engine": True, "preload_model": "scripted"}),
            Registry(seats, "scripted"),
        )
        async with app.router.lifespan_context(app):
            whole = await run_cut_session(app, [])
            broken = await run_cut_session(app, cuts)
            assert [without_token(frame) for frame in broken] == [without_token(frame) for frame in whole]
            assert sum(frame["type"] == "final" for frame in whole) >= 3

    asyncio.run(both())


def without_token(frame: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in frame.items() if key not in ("session", "resume_token")}


async def test_finished_sessions_are_limited() -> None:
    kept = ResumeRegistry(ResumePolicy(max_sessions=2))
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

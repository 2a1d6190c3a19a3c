"""Timers of a stream: idle clients, maximum duration, stalled ends."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.protocol.frames import Error
from echoic.server.stream.flow_control import FlowControl, ReadRates, TotalBacklog
from echoic.server.stream.outbox import Outbox, OutboxLimits
from echoic.server.stream.services import StreamLimits
from echoic.server.stream.timers import FAILED_CLOSE_SECONDS, StreamTimers
from echoic.session.session import Session
from support.in_memory_app import CONFIG, build_blocking_registry, get_services, wait_until_blocked
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook
from support.timing import run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.in_memory_app import StartApp


async def test_an_idle_client_gets_its_finals_and_idle_timeout(start_app: StartApp) -> None:
    app = await start_app(idle_timeout_seconds=0.05)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        socket.send(draw_words(["one", "two"]).tobytes())
        frames = await socket.receive_until("error")
        assert [frame["type"] for frame in frames] == ["status", "final", "full_transcript", "error"]
        assert frames[-1]["code"] == "idle_timeout"
        assert await socket.receive_frame() == {"type": "close", "code": 1001}


async def test_a_client_that_sends_messages_is_not_idle(start_app: StartApp) -> None:
    app = await start_app(idle_timeout_seconds=0.2)
    async with MemorySocket(app) as socket:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + 0.5:
            socket.send({"type": "ping"})
            assert await socket.receive_frame() == {"type": "pong"}


async def test_a_slow_stop_is_finished(start_app: StartApp) -> None:
    slow = ScriptedEngine(word_hooks={"alpha": lambda: time.sleep(0.08)})
    app = await start_app(
        Registry([ModelSpec("scripted", "scripted", "standard", lambda: None, lambda: slow)])
    )
    object.__setattr__(get_services(app).limits, "closing_seconds", 0.4)  # frozen, and no setting
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 0.4), ("", 1.1)] * 10).tobytes())
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == " ".join(["alpha"] * 10)
        assert await socket.receive_frame() == {"type": "close", "code": 1000}


async def test_a_stalled_stop_is_cut_off(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    object.__setattr__(get_services(app).limits, "closing_seconds", 0.1)  # frozen, and no setting
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9)]).tobytes())
        await wait_until_blocked(hook)
        socket.send({"type": "stop"})
        frames = await socket.receive_until("error")
        assert frames[-1]["code"] == "internal_error"
        assert await socket.receive_frame() == {"type": "close", "code": 1011}
        hook.opened.set()


async def test_the_maximum_duration_ends_a_stream_after_its_finals(start_app: StartApp) -> None:
    app = await start_app(max_stream_seconds=0.25)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        socket.send(draw_words(["one", "two"]).tobytes())
        frames = await socket.receive_until("error")
        assert [frame["type"] for frame in frames] == ["status", "final", "full_transcript", "error"]
        assert (frames[-1]["code"], frames[-1]["limit"]) == ("time_limit", 0.25)
        assert await socket.receive_frame() == {"type": "close", "code": 1001}


class TimedStream:
    """The timers of a stream without a connection; records what they do and when."""

    def __init__(self, limits: StreamLimits) -> None:
        self.events: list[tuple[float, str]] = []
        session = Session()
        outbox = Outbox(None, OutboxLimits(), lambda: None)
        marks = limits.backlog
        flow = FlowControl(
            session, outbox, TotalBacklog(), backlog=marks, lag_marks=limits.lag_marks, rates=ReadRates()
        )
        self.timers = StreamTimers(limits, session, flow, self._end_stream, self._close_now)

    def _end_stream(self, code: int, error: Error) -> None:
        self._record(f"{code} {error.code}")

    def _close_now(self, code: int) -> None:
        self._record(f"closed {code}")

    def _record(self, event: str) -> None:
        self.events.append((asyncio.get_running_loop().time(), event))


def run_timers(
    limits: StreamLimits, scenario: Callable[[StreamTimers], Awaitable[None]]
) -> list[tuple[float, str]]:
    async def run() -> list[tuple[float, str]]:
        stream = TimedStream(limits)
        await scenario(stream.timers)
        return stream.events

    return run_in_virtual_time(run())


def test_each_message_postpones_the_idle_timeout() -> None:
    async def scenario(timers: StreamTimers) -> None:
        timers.start()
        for _ in range(10):
            await asyncio.sleep(200)
            timers.record_message()
        await asyncio.sleep(600)

    [(at, event)] = run_timers(StreamLimits(idle_seconds=300), scenario)
    assert event == "1001 idle_timeout"
    assert 2_300 <= at <= 2_450


def test_the_maximum_duration_counts_from_the_start() -> None:
    async def scenario(timers: StreamTimers) -> None:
        timers.start()
        await asyncio.sleep(100)

    assert run_timers(StreamLimits(max_seconds=60), scenario) == [(60, "1001 time_limit")]


@pytest.mark.parametrize(("has_failed", "at"), [(False, 20), (True, FAILED_CLOSE_SECONDS)])
def test_an_end_without_progress_is_cut_off(*, has_failed: bool, at: float) -> None:
    async def scenario(timers: StreamTimers) -> None:
        timers.watch_end(1000, has_failed=has_failed)
        await asyncio.sleep(100)

    assert run_timers(StreamLimits(closing_seconds=20), scenario) == [(at, "closed 1000")]


def test_cancelled_timers_do_nothing() -> None:
    async def scenario(timers: StreamTimers) -> None:
        timers.start()
        timers.watch_end(1000)
        timers.cancel_all()
        await asyncio.sleep(1_000)

    assert run_timers(StreamLimits(max_seconds=60), scenario) == []

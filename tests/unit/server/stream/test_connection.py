from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextvars import Context
from typing import TYPE_CHECKING

import pytest
import structlog

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import ErrorCode
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from echoic.protocol.frames import Error
from support.memory_socket import MemorySocket
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from echoic.server.context import ServerContext
    from support.app_fixtures import StartApp

CONFIG: dict[str, object] = {"type": "config", "model": "scripted"}
FIVE_SECONDS = draw_words([("one", 0.4), ("two", 0.4), ("three", 0.4)] * 4).tobytes()


def seat_of(name: str, load: Callable[[], ScriptedEngine]) -> ModelSpec:
    return ModelSpec(name, name, "standard", lambda: None, load)


class Doors:
    """A scripted recogniser that waits at the word "alpha" until ``open`` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()

    def registry(self) -> Registry:
        return Registry(
            [seat_of("scripted", lambda: ScriptedEngine(word_hooks={"alpha": self._wait}))], "scripted"
        )

    def _wait(self) -> None:
        self.reached.set()
        assert self.open.wait(WAIT_SECONDS)


def house_of(app: FastAPI) -> ServerContext:
    house: ServerContext = app.state.context
    return house


def metric(app: FastAPI, name: str, **labels: str) -> float:
    return house_of(app).services.metrics.registry.get_sample_value(name, labels) or 0.0


def assert_nothing_is_left(app: FastAPI, *, tasks: int = 2) -> None:
    service = house_of(app).services
    assert len(service.streams) == 0
    assert not service.engines._pending  # noqa: SLF001  # what leaks there is seen nowhere else
    assert metric(app, "echoic_streams_active") == 0
    assert len(asyncio.all_tasks()) == tasks  # this one, and the one that renews leases


async def test_a_stream_is_transcribed_and_closed_when_the_client_stops(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        configured = (await socket.receive_until("status"))[-1]
        assert (configured["state"], configured["active_model"]) == ("configured", "scripted")
        socket.send(FIVE_SECONDS)
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert await socket.receive_frame() == {"type": "close", "code": 1000}
        await socket.wait_until_ended()
    assert frames[-1]["text"] == " ".join(["one two three"] * 4)
    assert " ".join(f["text"] for f in frames if f["type"] == "final") == frames[-1]["text"]
    assert metric(app, "echoic_closes_total", code="1000") == 1
    assert metric(app, "echoic_audio_seconds_total", model="scripted") == pytest.approx(
        len(FIVE_SECONDS) / 64_000
    )
    assert_nothing_is_left(app)


@pytest.mark.parametrize(
    "message", ["{", '{"type":"sing"}', '{"type":"audio"}', '{"type":"audio","data":"?"}']
)
async def test_a_message_that_is_not_legal_is_answered_and_the_stream_goes_on(
    app: FastAPI, message: str
) -> None:
    async with MemorySocket(app) as socket:
        socket.send_text(message)
        error = await socket.receive_frame()
        assert error["type"] == "error"
        assert metric(app, "echoic_errors_total", code=error["code"]) == 1
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}


async def test_an_over_long_message_is_told_and_ends_the_stream(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send(bytes(MAX_MESSAGE_BYTES + 1))
        assert (await socket.receive_frame())["code"] == "frame_too_large"
        assert await socket.receive_frame() == {"type": "close", "code": 1009}
        await socket.wait_until_ended()


async def test_ping_is_answered_while_a_decode_runs(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9), ("one", 0.5)]).tobytes())
        await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        doors.open.set()
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == "alpha one"


async def test_above_the_high_mark_the_client_is_not_read(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry(), max_backlog_seconds=3.0)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        second = draw_words([("alpha", 0.9)]).tobytes()
        for _ in range(20):
            socket.send(second)
        socket.send({"type": "ping"})
        await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
        await quiet(socket)
        assert socket.undelivered_count > 10
        doors.open.set()
        await socket.receive_until("pong")


async def test_a_client_that_asks_faster_than_models_are_found_is_not_read(start_app: StartApp) -> None:
    found = threading.Event()

    def probe() -> None:
        assert found.wait(WAIT_SECONDS)

    slow = ModelSpec("slow", "slow", "standard", probe, ScriptedEngine)
    app = await start_app(Registry([seat_of("scripted", ScriptedEngine), slow], "scripted"))
    async with MemorySocket(app) as socket:
        for _ in range(300):
            socket.send({"type": "config", "model": "slow"})
        await quiet(socket)
        assert socket.undelivered_count > 200
        found.set()
        socket.send({"type": "stop"})
        answers = [await socket.receive_frame() for _ in range(300)]
        assert {frame["state"] for frame in answers} == {"configured"}
        assert await socket.receive_frame() == {"type": "close", "code": 1000}


async def test_a_client_that_asks_faster_than_windows_are_decoded_is_not_read(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9), ("one", 0.5)]).tobytes())
        await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
        for _ in range(300):
            socket.send({"type": "commit"})
        await quiet(socket)
        assert socket.undelivered_count > 200
        doors.open.set()
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == "alpha one"


async def quiet(socket: MemorySocket) -> None:
    """Wait until the application takes no more messages."""
    before = -1
    while before != socket.undelivered_count:
        before = socket.undelivered_count
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_client_that_takes_nothing_is_not_read_and_loses_no_final(start_app: StartApp) -> None:
    app = await start_app(send_queue_frames=4)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.may_read.clear()
        for _ in range(100):
            socket.send({"type": "ping"})
        await quiet(socket)
        assert 90 < socket.undelivered_count < 100
        socket.may_read.set()
        socket.send(FIVE_SECONDS)
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert sum(frame["type"] == "pong" for frame in frames) == 100
        assert frames[-1]["text"] == " ".join(["one two three"] * 4)


async def test_a_client_that_takes_nothing_for_too_long_is_gone(start_app: StartApp) -> None:
    app = await start_app(send_timeout_seconds=0.02)
    async with MemorySocket(app) as socket:
        socket.may_read.clear()
        socket.send({"type": "ping"})
        async with asyncio.timeout(WAIT_SECONDS):
            await house_of(app).services.streams.wait_until_empty()
    assert metric(app, "echoic_closes_total", code="1006") == 1
    assert_nothing_is_left(app)


async def test_a_silent_client_is_told_and_gets_what_was_heard(start_app: StartApp) -> None:
    app = await start_app(idle_timeout_seconds=0.05)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        socket.send(draw_words(["one", "two"]).tobytes())
        frames = await socket.receive_until("error")
        assert [frame["type"] for frame in frames] == ["status", "final", "full_transcript", "error"]
        assert frames[-1]["code"] == "idle_timeout"
        assert await socket.receive_frame() == {"type": "close", "code": 1001}


async def test_a_client_that_speaks_is_not_idle(start_app: StartApp) -> None:
    app = await start_app(idle_timeout_seconds=0.2)
    async with MemorySocket(app) as socket:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while loop.time() < began + 0.5:
            socket.send({"type": "ping"})
            assert await socket.receive_frame() == {"type": "pong"}


async def test_one_stream_more_than_allowed_is_told_that_the_server_is_busy(start_app: StartApp) -> None:
    app = await start_app(max_sessions=1)
    async with MemorySocket(app) as first:
        async with MemorySocket(app) as second:
            assert (await second.receive_frame())["code"] == "server_busy"
            assert await second.receive_frame() == {"type": "close", "code": 1013}
        first.disconnect()
        await first.wait_until_ended()
    async with MemorySocket(app) as third:
        third.send({"type": "ping"})
        assert await third.receive_frame() == {"type": "pong"}


async def test_draining_delivers_what_was_heard_and_refuses_the_new(app: FastAPI) -> None:
    streams = house_of(app).services.streams
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        socket.send(draw_words(["one", "two"]).tobytes())
        await quiet(socket)
        draining = asyncio.ensure_future(streams.drain(WAIT_SECONDS))
        frames = await socket.receive_until("full_transcript")
        assert [frame["text"] for frame in frames] == ["one two", "one two"]
        assert await socket.receive_frame() == {"type": "close", "code": 1001}
        await draining
    async with MemorySocket(app) as late:
        assert (await late.receive_frame())["code"] == "draining"
        assert await late.receive_frame() == {"type": "close", "code": 1013}


async def test_draining_cuts_off_what_does_not_end_in_time(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 3.0)]).tobytes())
        await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
        await house_of(app).services.streams.drain(0.02)
        assert await socket.receive_frame() == {"type": "close", "code": 1001}
        await socket.wait_until_ended()
        doors.open.set()


async def test_a_fault_in_the_server_is_told_to_this_client_alone(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("said in confidence")

    async with MemorySocket(app) as other, MemorySocket(app) as socket:
        house_of(app).services.metrics.count_received = broken  # type: ignore[method-assign,assignment]
        socket.send({"type": "ping"})
        assert (await socket.receive_frame())["code"] == "internal_error"
        assert await socket.receive_frame() == {"type": "close", "code": 1011}
        await socket.wait_until_ended()
        del house_of(app).services.metrics.count_received
        other.send({"type": "ping"})
        assert await other.receive_frame() == {"type": "pong"}
    assert "stream.broken" in caplog.text
    assert "in confidence" not in caplog.text


async def test_an_error_that_another_task_caused_bears_the_clients_address_in_the_log(app: FastAPI) -> None:
    found: list[dict[str, object]] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "stream.error":
                found.append(structlog.contextvars.get_contextvars())

    log, lines = logging.getLogger("echoic.server.stream.connection"), Lines()
    level = log.level
    log.addHandler(lines)
    log.setLevel(logging.DEBUG)
    try:
        async with MemorySocket(app) as socket:
            socket.send(CONFIG)
            await socket.receive_until("status")
            (stream,) = house_of(app).services.streams._open_streams  # noqa: SLF001  # nobody else hands it out
            error = Error(code=ErrorCode.UNAUTHORIZED, message="This API key is gone.")
            Context().run(stream.end_stream, 4401, error)
            await socket.receive_until("close")
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
    assert ["address" in line for line in found] == [True]


async def test_a_model_that_fails_in_loading_is_told_and_another_config_may_follow(
    start_app: StartApp,
) -> None:
    def load() -> ScriptedEngine:
        raise OSError("somewhere private")

    app = await start_app(
        Registry([seat_of("broken", load), seat_of("scripted", ScriptedEngine)], "scripted")
    )
    async with MemorySocket(app, "/core/parakeet/stream") as socket:
        socket.send({"type": "config", "model": "broken"})
        error = await socket.receive_frame()
        assert error["code"] == "model_unavailable"
        assert "private" not in str(error)
        socket.send(CONFIG)
        assert (await socket.receive_frame())["state"] == "configured"


LAST_WORDS: list[list[dict[str, object] | bytes]] = [
    [],
    [CONFIG],
    [CONFIG, FIVE_SECONDS],
    [FIVE_SECONDS],
    [CONFIG, FIVE_SECONDS, {"type": "commit"}],
    [CONFIG, FIVE_SECONDS * 4, {"type": "stop"}],
    [{"type": "ping"}] * 50,
    [CONFIG, FIVE_SECONDS, CONFIG | {"sample_rate": 8000}, FIVE_SECONDS],
]


async def test_hundreds_of_abrupt_ends_at_any_moment_leave_nothing_behind(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = len(asyncio.all_tasks())
    for number in range(320):
        async with MemorySocket(app) as socket:
            for message in LAST_WORDS[number % len(LAST_WORDS)]:
                socket.send(message)
            for _ in range(number % 29):
                await asyncio.sleep(0)
            if number % 3 == 0:
                socket.may_read.clear()
    assert metric(app, "echoic_streams_total") == 320
    closes = sum(metric(app, "echoic_closes_total", code=code) for code in ("1000", "1006"))
    assert closes == 320
    assert_nothing_is_left(app, tasks=tasks)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_stop_that_takes_long_is_finished(start_app: StartApp) -> None:
    slow = ScriptedEngine(word_hooks={"alpha": lambda: time.sleep(0.4)})
    app = await start_app(
        Registry([ModelSpec("scripted", "scripted", "standard", lambda: None, lambda: slow)])
    )
    object.__setattr__(house_of(app).services.limits, "closing_seconds", 2.0)  # frozen, and no setting
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 0.4), ("", 1.1)] * 10).tobytes())
        socket.send({"type": "stop"})
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == " ".join(["alpha"] * 10)
        assert await socket.receive_frame() == {"type": "close", "code": 1000}


async def test_a_stop_that_cannot_be_finished_ends_all_the_same(start_app: StartApp) -> None:
    doors = Doors()
    app = await start_app(doors.registry())
    object.__setattr__(house_of(app).services.limits, "closing_seconds", 0.1)  # frozen, and no setting
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9)]).tobytes())
        await asyncio.to_thread(doors.reached.wait, WAIT_SECONDS)
        socket.send({"type": "stop"})
        frames = await socket.receive_until("error")
        assert frames[-1]["code"] == "internal_error"
        assert await socket.receive_frame() == {"type": "close", "code": 1011}
        doors.open.set()

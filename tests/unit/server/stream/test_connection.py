"""The connection: a stream from config to close, and how it fails."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING

import pytest
import structlog

from echoic.engines.registry import Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.errors import ErrorCode
from echoic.protocol.codec import MAX_MESSAGE_BYTES
from echoic.protocol.frames import Error
from echoic.server.stream.connection import Connection
from support.in_memory_app import (
    CONFIG,
    assert_all_released,
    build_blocking_registry,
    build_model_spec,
    get_services,
    read_metric,
    wait_until_blocked,
)
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.in_memory_app import StartApp


FIVE_SECONDS = draw_words([("one", 0.4), ("two", 0.4), ("three", 0.4)] * 4).tobytes()


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
    assert read_metric(app, "echoic_closes_total", code="1000") == 1
    assert read_metric(app, "echoic_audio_seconds_total", model="scripted") == pytest.approx(
        len(FIVE_SECONDS) / 64_000
    )
    assert_all_released(app)


@pytest.mark.parametrize(
    "message", ["{", '{"type":"sing"}', '{"type":"audio"}', '{"type":"audio","data":"?"}']
)
async def test_an_illegal_message_is_answered_and_the_stream_goes_on(app: FastAPI, message: str) -> None:
    async with MemorySocket(app) as socket:
        socket.send_text(message)
        error = await socket.receive_frame()
        assert error["type"] == "error"
        assert read_metric(app, "echoic_errors_total", code=error["code"]) == 1
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}


async def test_an_over_long_message_ends_the_stream(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send(bytes(MAX_MESSAGE_BYTES + 1))
        assert (await socket.receive_frame())["code"] == "frame_too_large"
        assert await socket.receive_frame() == {"type": "close", "code": 1009}
        await socket.wait_until_ended()


async def test_ping_is_answered_during_a_decode(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9), ("one", 0.5)]).tobytes())
        await wait_until_blocked(hook)
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        hook.opened.set()
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == "alpha one"


async def test_an_exception_ends_only_its_own_stream(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a confidential text")

    async with MemorySocket(app) as other, MemorySocket(app) as socket:
        get_services(app).metrics.count_received = broken  # type: ignore[method-assign,assignment]
        socket.send({"type": "ping"})
        assert (await socket.receive_frame())["code"] == "internal_error"
        assert await socket.receive_frame() == {"type": "close", "code": 1011}
        await socket.wait_until_ended()
        del get_services(app).metrics.count_received
        other.send({"type": "ping"})
        assert await other.receive_frame() == {"type": "pong"}
    assert "stream.broken" in caplog.text
    assert "confidential" not in caplog.text


async def test_an_error_from_another_task_is_logged_with_the_address(app: FastAPI) -> None:
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
            (stream,) = get_services(app).streams._open_streams  # noqa: SLF001  # there is no public access
            assert isinstance(stream, Connection)
            error = Error(code=ErrorCode.UNAUTHORIZED, message="This API key is gone.")
            Context().run(stream.end_stream, 4401, error)
            await socket.receive_until("close")
    finally:
        log.removeHandler(lines)
        log.setLevel(level)
    assert ["address" in line for line in found] == [True]


async def test_another_model_can_follow_one_that_fails_to_load(
    start_app: StartApp,
) -> None:
    def load() -> ScriptedEngine:
        raise OSError("somewhere private")

    app = await start_app(
        Registry([build_model_spec("broken", load), build_model_spec("scripted", ScriptedEngine)], "scripted")
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


async def test_abrupt_disconnects_leave_nothing_behind(
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
    assert read_metric(app, "echoic_streams_total") == 320
    closes = sum(read_metric(app, "echoic_closes_total", code=code) for code in ("1000", "1006"))
    assert closes == 320
    assert_all_released(app, tasks=tasks)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

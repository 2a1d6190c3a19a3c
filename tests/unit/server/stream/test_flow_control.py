"""Flow control: rates, water marks, lag."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine, draw_words
from echoic.server.stream.flow_control import (
    FlowControl,
    Hysteresis,
    LatencyMonitor,
    ReadRates,
    TokenBucket,
    TotalBacklog,
    WaterMarks,
)
from echoic.server.stream.outbox import Outbox, OutboxLimits
from echoic.session.session import Session
from support.in_memory_app import (
    CONFIG,
    build_blocking_registry,
    build_model_spec,
    read_metric,
    wait_until_blocked,
    wait_until_unread,
)
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook
from support.timing import WAIT_SECONDS, run_in_virtual_time

if TYPE_CHECKING:
    from support.in_memory_app import StartApp


NOTES = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)))


def test_a_level_stays_high_down_to_the_low_mark() -> None:
    level, marks = Hysteresis(), WaterMarks(3.0, 2.0)
    assert [level.update_level(now, marks) for now in (1, 3, 3.1, 2.5, 2.1, 2, 2.5, 3, 4)] == [
        *(False, False, True, True, True),
        *(False, False, False, True),
    ]


def test_capped_marks_keep_their_proportion() -> None:
    marks = WaterMarks(30.0, 20.0)
    assert marks.cap_at(float("inf")) is marks
    assert marks.cap_at(3.0) == WaterMarks(3.0, 2.0)


@given(NOTES)
def test_backlog_are_the_sum_of_what_was_noted_last(notes: list[tuple[str, float]]) -> None:
    backlog = TotalBacklog(WaterMarks(60.0, 30.0))
    last: dict[str, float] = {}
    high = False
    for stream, seconds in notes:
        backlog.update_stream(stream, seconds)
        last[stream] = seconds
        total = sum(last.values())
        assert abs(backlog.seconds - total) < 1e-6
        if abs(total - 60.0) > 1e-3 and abs(total - 30.0) > 1e-3:
            high = total > (30.0 if high else 60.0)
            assert backlog.is_high is high
        else:
            high = backlog.is_high


def test_while_the_backlog_are_high_each_stream_has_an_equal_share() -> None:
    backlog = TotalBacklog(WaterMarks(10.0, 6.0))
    for stream in "ab":
        backlog.update_stream(stream, 5.0)
    assert backlog.seconds_per_stream == float("inf")
    backlog.update_stream("c", 1.0)
    assert backlog.seconds_per_stream == 2.0
    backlog.update_stream("b", 0.0)
    assert backlog.seconds_per_stream == float("inf")
    assert backlog.seconds == 6.0


def test_a_full_bucket_is_emptied_before_the_rate_applies() -> None:
    bucket = TokenBucket(10.0, 20.0)
    for _ in range(20):
        assert bucket.compute_wait(5.0) == 0
        bucket.take_tokens(1, 5.0)
    assert bucket.compute_wait(5.0) == 0  # what is there may be taken to the last
    bucket.take_tokens(1, 5.0)
    assert 0.1 < bucket.compute_wait(5.0) < 0.2
    assert bucket.compute_wait(5.2) == 0


def test_a_large_amount_is_taken_whole_and_waited_for_later() -> None:
    bucket = TokenBucket(10.0, 20.0)
    bucket.take_tokens(120, 0.0)
    assert 10.0 < bucket.compute_wait(0.0) < 10.1


def test_a_bucket_without_rate_has_no_limit() -> None:
    bucket = TokenBucket(0.0, 0.0)
    bucket.take_tokens(1e9, 1.0)
    assert bucket.compute_wait(1.0) == 0


@given(st.lists(st.floats(0, 50), min_size=1), st.floats(1, 100))
def test_waiting_as_computed_never_exceeds_size_and_rate(pieces: list[float], rate: float) -> None:
    bucket = TokenBucket(rate, 20.0)
    now = taken = 0.0
    for piece in pieces:
        now += bucket.compute_wait(now)
        assert taken <= 20.0 + rate * now + 1e-6
        bucket.take_tokens(piece, now)
        taken += piece


SECOND = 1_000_000


def build_monitor() -> LatencyMonitor:
    return LatencyMonitor(WaterMarks(4.0, 2.0))


def test_lag_grows_while_a_final_is_due() -> None:
    monitor = build_monitor()
    monitor.record_progress(2 * SECOND, 0, 10.0)
    assert [monitor.compute_lag(now) for now in (10.0, 11.5)] == [0.0, 1.5]
    monitor.record_progress(4 * SECOND, 2 * SECOND, 13.0)
    assert monitor.compute_lag(13.0) == 3.0


def test_falling_behind_is_detected_once_until_recovery() -> None:
    monitor = build_monitor()
    monitor.record_progress(SECOND, 0, 100.0)
    assert [monitor.detect_falling_behind(now) for now in (103.0, 104.5, 105.0)] == [False, True, False]
    monitor.record_progress(2 * SECOND, SECOND, 105.0)
    assert (monitor.is_behind, monitor.detect_falling_behind(105.0)) == (True, False)
    monitor.record_progress(
        2 * SECOND, 2 * SECOND, 106.0
    )  # 1 s late; the monitor before was 5 s late, a second ago
    assert monitor.detect_falling_behind(106.0) is False
    assert monitor.is_behind is False
    monitor.record_progress(3 * SECOND, 2 * SECOND, 200.0)
    assert monitor.detect_falling_behind(204.5) is True


def test_between_the_marks_the_state_is_kept() -> None:
    monitor = build_monitor()
    monitor.record_progress(SECOND, 0, 0.0)
    assert monitor.detect_falling_behind(3.0) is False
    assert monitor.detect_falling_behind(4.1) is True
    monitor.record_progress(2 * SECOND, SECOND, 4.1)
    monitor.record_progress(2 * SECOND, 2 * SECOND, 7.1)  # 3 s late
    monitor.detect_falling_behind(7.1)
    assert monitor.is_behind


def test_audio_faster_than_real_time_is_due_as_it_plays() -> None:
    monitor = build_monitor()
    for number in range(1, 21):  # 30 s at once, decoded in 10 s
        monitor.record_progress(round(number * 1.5 * SECOND), 0, 50.0)
    for number in range(1, 21):
        now = 50.0 + number * 0.5
        monitor.record_progress(30 * SECOND, round(number * 1.5 * SECOND), now)
        assert monitor.detect_falling_behind(now) is False
    assert monitor.compute_lag(60.0) == 0


def test_decoding_slower_than_real_time_falls_behind() -> None:
    monitor = build_monitor()
    for number in range(1, 21):
        monitor.record_progress(round(number * 1.5 * SECOND), 0, 50.0)
    fell = 0
    for number in range(1, 21):  # half of real time
        now = 50.0 + number * 3
        monitor.record_progress(30 * SECOND, round(number * 1.5 * SECOND), now)
        fell += monitor.detect_falling_behind(now)
    assert fell == 1


def test_the_lag_decays_when_nothing_is_due() -> None:
    monitor = build_monitor()
    monitor.record_progress(SECOND, 0, 0.0)
    monitor.record_progress(SECOND, SECOND, 6.0)
    assert monitor.detect_falling_behind(6.0) is True
    assert monitor.next_check_at == pytest.approx(10.0)
    assert monitor.detect_falling_behind(10.0) is False
    assert monitor.is_behind is False
    assert monitor.next_check_at is None


def test_partials_halve_at_each_quarter_of_the_mark() -> None:
    monitor = build_monitor()
    monitor.record_progress(SECOND, 0, 0.0)
    assert [monitor.compute_partial_pace(now) for now in (0.0, 0.9, 1.0, 2.0, 3.0, 4.0, 100.0)] == [
        1,
        1,
        2,
        4,
        8,
        16,
        64,
    ]
    monitor.record_progress(SECOND, SECOND, 100.0)
    assert monitor.compute_partial_pace(200.0) == 1


ONE_SECOND = draw_words([("one", 0.9), ("", 0.1)]).tobytes()


HELD = draw_words([("alpha", 1.9), ("one", 0.6), ("two", 0.6), ("three", 0.6), ("four", 0.6)]).tobytes()


async def block_stream(socket: MemorySocket, hook: BlockingHook, **config: object) -> None:
    """Let a stream wait for a decode, with two windows and a half behind it."""
    socket.send(CONFIG | config)
    await socket.receive_until("status")
    socket.send(HELD)
    await wait_until_blocked(hook)
    await wait_until_unread(socket)


async def test_a_high_total_backlog_pauses_only_large_streams(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_total_backlog_seconds=3.0)
    async with MemorySocket(app) as modest, MemorySocket(app) as greedy:
        modest.send(CONFIG)
        await modest.receive_until("status")
        await block_stream(greedy, hook)
        greedy.send({"type": "ping"})
        await wait_until_unread(greedy)
        assert greedy.undelivered_count == 1
        modest.send(ONE_SECOND)
        modest.send({"type": "ping"})
        assert (await modest.receive_until("pong"))[-1] == {"type": "pong"}
        hook.opened.set()
        await greedy.receive_until("pong")


async def test_reading_resumes_below_the_low_mark(
    start_app: StartApp,
) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=4.9, low_backlog_seconds=0.5)
    async with MemorySocket(app) as socket:
        await block_stream(socket, hook, enable_partial=False)  # 3.5 s are due
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        socket.send(ONE_SECOND)
        await wait_until_unread(socket)
        socket.send({"type": "ping"})
        await wait_until_unread(socket)
        assert socket.undelivered_count == 1
        hook.opened.set()
        frames = await socket.receive_until("pong")
        assert [frame["type"] for frame in frames] == ["final", "final", "pong"]


async def test_falling_behind_sends_one_warning_and_loses_nothing(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), falling_behind_seconds=0.5)
    async with MemorySocket(app) as socket:
        await block_stream(socket, hook, enable_partial=False)
        warning = await socket.receive_frame()
        assert (warning["type"], warning["code"]) == ("warning", "falling_behind")
        assert warning["lag"] > 0.5
        assert warning["message"]
        assert read_metric(app, "echoic_streams_behind") == 1
        socket.send(ONE_SECOND)
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}
        hook.opened.set()
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert {frame["type"] for frame in frames} == {"final", "full_transcript"}
        assert frames[-1]["text"] == "alpha one two three four one"
        async with asyncio.timeout(WAIT_SECONDS):
            while read_metric(app, "echoic_streams_behind"):
                socket.send({"type": "ping"})
                await socket.receive_frame()
    assert read_metric(app, "echoic_warnings_total", code="falling_behind") == 1


async def test_a_file_decoded_faster_than_real_time_is_not_late(start_app: StartApp) -> None:
    app = await start_app(falling_behind_seconds=0.5)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        for _ in range(20):
            socket.send(ONE_SECOND)
        socket.send({"type": "commit"})
        frames = await socket.receive_until("full_transcript")
        assert not [frame for frame in frames if frame["type"] == "warning"]


async def test_messages_above_the_rate_wait_and_are_answered(start_app: StartApp) -> None:
    app = await start_app(max_messages_per_second=100)
    async with MemorySocket(app) as flood, MemorySocket(app) as other:
        for _ in range(250):
            flood.send({"type": "ping"})
        await wait_until_unread(flood)
        assert 0 < flood.undelivered_count <= 50
        other.send({"type": "ping"})
        assert await other.receive_frame() == {"type": "pong"}
        assert flood.undelivered_count
        for _ in range(250):
            assert await flood.receive_frame() == {"type": "pong"}


async def test_audio_above_the_rate_waits_and_is_transcribed(start_app: StartApp) -> None:
    app = await start_app(max_audio_rate=10, max_backlog_seconds=10)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False})
        await socket.receive_until("status")
        for _ in range(15):
            socket.send(ONE_SECOND)
        await wait_until_unread(socket)
        assert 0 < socket.undelivered_count < 10
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == " ".join(["one"] * 15)


async def test_audio_of_a_loading_model_counts_in_its_own_format(
    start_app: StartApp,
) -> None:
    may_load = threading.Event()

    def load() -> ScriptedEngine:
        may_load.wait(WAIT_SECONDS)
        return ScriptedEngine()

    registry = Registry((ModelSpec("scripted", "scripted", "standard", lambda: None, load),), "scripted")
    app = await start_app(registry, preload_model="", max_audio_rate=20, max_backlog_seconds=10)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG | {"enable_partial": False, "audio_format": "s16le"})
        for _ in range(20):
            socket.send((np.frombuffer(ONE_SECOND, np.float32) * 32_767).astype("<i2").tobytes())
        await wait_until_unread(socket)
        may_load.set()
        assert 5 < socket.undelivered_count < 15  # none, if samples were counted as 4 bytes each
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == " ".join(["one"] * 20)


async def test_a_client_above_the_high_mark_is_not_read(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook), max_backlog_seconds=3.0)
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        second = draw_words([("alpha", 0.9)]).tobytes()
        for _ in range(20):
            socket.send(second)
        socket.send({"type": "ping"})
        await wait_until_blocked(hook)
        await wait_until_unread(socket)
        assert socket.undelivered_count > 10
        hook.opened.set()
        await socket.receive_until("pong")


async def test_a_client_with_too_many_configs_is_not_read(start_app: StartApp) -> None:
    found = threading.Event()

    def probe() -> None:
        assert found.wait(WAIT_SECONDS)

    slow = ModelSpec("slow", "slow", "standard", probe, ScriptedEngine)
    app = await start_app(Registry([build_model_spec("scripted", ScriptedEngine), slow], "scripted"))
    async with MemorySocket(app) as socket:
        for _ in range(300):
            socket.send({"type": "config", "model": "slow"})
        await wait_until_unread(socket)
        assert socket.undelivered_count > 200
        found.set()
        socket.send({"type": "stop"})
        answers = [await socket.receive_frame() for _ in range(300)]
        assert {frame["state"] for frame in answers} == {"configured"}
        assert await socket.receive_frame() == {"type": "close", "code": 1000}


async def test_a_client_with_too_many_commits_is_not_read(start_app: StartApp) -> None:
    hook = BlockingHook()
    app = await start_app(build_blocking_registry(hook))
    async with MemorySocket(app) as socket:
        socket.send(CONFIG)
        await socket.receive_until("status")
        socket.send(draw_words([("alpha", 1.9), ("one", 0.5)]).tobytes())
        await wait_until_blocked(hook)
        for _ in range(300):
            socket.send({"type": "commit"})
        await wait_until_unread(socket)
        assert socket.undelivered_count > 200
        hook.opened.set()
        frames = await socket.receive_until("full_transcript")
        assert frames[-1]["text"] == "alpha one"


def build_flow(total_backlog: TotalBacklog, rates: ReadRates) -> FlowControl:
    marks = WaterMarks(4.0, 2.0)
    outbox = Outbox(None, OutboxLimits(), lambda: None)
    return FlowControl(Session(), outbox, total_backlog, backlog=marks, lag_marks=marks, rates=rates)


def test_a_client_above_its_rates_is_read_later() -> None:
    async def measure(messages: int, audio: float) -> float:
        flow = build_flow(TotalBacklog(), ReadRates(100.0, 10.0))
        clock = asyncio.get_running_loop().time
        for _ in range(messages):
            flow.count_message(clock())
        flow.count_audio(audio, clock())
        await flow.wait_for_room()
        return clock()

    assert run_in_virtual_time(measure(200, 4.0)) == 0
    assert run_in_virtual_time(measure(300, 0.0)) == pytest.approx(1.0, abs=0.1)
    assert run_in_virtual_time(measure(0, 34.0)) == pytest.approx(3.0, abs=0.1)

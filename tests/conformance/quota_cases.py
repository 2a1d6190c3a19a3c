"""docs/protocol.md, section 10: how many streams, and how much audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.line import (
    CORE_PATH,
    ConformanceServer,
    build_silence,
    build_sound,
    build_speech,
    check_alive,
    check_transcript,
    filter_finals,
    receive_until,
    send_and_receive,
    send_commit,
    send_config,
    server_case,
)

if TYPE_CHECKING:
    from conformance.line import ClientStream, Json

LIMITS = "/api/v1/audio/stream/limits"
ONE_STREAM = {"local": {"concurrent_streams": 1}}
#: Three seconds of audio.
LITTLE = {"local": {"daily_minutes": 0.05}}


async def refused(line: ClientStream, quota: str) -> Json:
    error = await line.receive()
    assert (error["type"], error["code"], error.get("quota")) == ("error", "quota_exceeded", quota), error
    assert await line.receive() == {"type": "close", "code": 4003}
    return error


async def standing(door: ConformanceServer) -> Json:
    code, body, _ = await door.fetch_http(LIMITS)
    assert code == 200
    return body


@server_case("P10.1", "P7.18", tier_limits=ONE_STREAM)
async def one_stream_of_a_user_too_many_is_told(door: ConformanceServer) -> None:
    await door.wait_until_empty()
    async with door.open_stream() as first:
        await check_alive(first)
        async with door.open_stream() as second:
            error = await refused(second, "concurrent_streams")
            assert (error["limit"], error["used"]) == (1, 1)
        assert not (await standing(door))["can_start_stream"]
        await check_alive(first)


@server_case("P10.6", "P10.1", tier_limits=ONE_STREAM)
async def a_place_is_free_when_its_stream_ends(door: ConformanceServer) -> None:
    await door.wait_until_empty()
    for leave in ("stop", "cut"):
        async with door.open_stream() as line:
            await check_alive(line)
            if leave == "stop":
                assert await send_and_receive(line, {"type": "stop"}) == {"type": "close", "code": 1000}
        await door.wait_until_empty()
    async with door.open_stream() as line:
        await check_alive(line)


@server_case("P10.2", "P7.15", "P7.18", spends_server=True, tier_limits=LITTLE)
async def what_is_beyond_the_minutes_is_not_heard_and_what_is_within_is_delivered(
    door: ConformanceServer,
) -> None:
    async with door.open_stream() as line:
        await send_config(line, sample_rate=8_000, enable_partial=False)
        await line.send(build_speech(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000))
        frames = await receive_until(line, "full_transcript")
        assert filter_finals(frames)[-1]["segment_end"] == 3.0
        assert check_transcript(frames) == "one two three"
        error = await refused(line, "daily_minutes")
        assert (error["limit"], error["used"]) == (0.05, 0.05)


@server_case("P10.2", spends_server=True, tier_limits=LITTLE)
async def the_same_is_heard_in_small_messages_sent_before_the_config_is_answered(
    door: ConformanceServer,
) -> None:
    async with door.open_stream() as line:
        audio = build_speech(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000)
        await line.send({"type": "config", "sample_rate": 8_000, "enable_partial": False})
        for start in range(0, len(audio), 324):
            await line.send(audio[start : start + 324])
        await line.send({"type": "stop"})
        assert (await receive_until(line, "status"))[-1]["state"] == "configured"
        frames = await receive_until(line, "full_transcript")
        assert filter_finals(frames)[-1]["segment_end"] == 3.0
        assert check_transcript(frames) == "one two three"
        await refused(line, "daily_minutes")


@server_case("P10.3", "P10.4", "P10.5", spends_server=True, tier_limits=LITTLE)
async def who_has_no_minutes_left_is_told_at_once(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, enable_partial=False)
        await line.send(build_silence(1.5))
        assert (await send_and_receive(line, b"\0\0\0"))["code"] == "bad_audio"
        assert await send_commit(line) == [{"type": "full_transcript", "text": ""}]
        body = await standing(door)
        assert body["limits"] == {"daily_minutes": 0.05, "concurrent_streams": None}
        assert (body["tier"], body["used_today_minutes"], body["remaining_minutes"]) == (
            "local",
            0.025,
            0.025,
        )
        assert (body["active_streams"], body["can_start_stream"]) == (1, True)
        await line.send(build_silence(2.0))
        error = await refused(line, "daily_minutes")
        assert error["used"] == 0.05
    await door.wait_until_empty()
    async with door.open_stream() as line:
        await refused(line, "daily_minutes")
    body = await standing(door)
    assert (body["remaining_minutes"], body["can_start_stream"]) == (0, False)
    _, _, lines = await door.fetch_http("/metrics")
    assert 'echoic_quota_refusals_total{quota="daily_minutes"} 2.0' in lines


@server_case("P10.7", tier_limits={"local": {"concurrent_streams": 0, "daily_minutes": 0}})
async def the_core_endpoint_counts_nobody(door: ConformanceServer) -> None:
    async with door.open_stream(CORE_PATH) as line:
        await line.send(build_sound(1.0))
        await send_commit(line)
    async with door.open_stream() as line:
        await refused(line, "concurrent_streams")

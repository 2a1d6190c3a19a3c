"""docs/protocol.md, section 10: quotas of streams and minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.client_api import (
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
    from conformance.client_api import ClientStream, Json

LIMITS = "/api/v1/audio/stream/limits"
ONE_STREAM = {"local": {"concurrent_streams": 1}}
#: Three seconds of audio.
LITTLE = {"local": {"daily_minutes": 0.05}}


async def check_refused(stream: ClientStream, quota: str) -> Json:
    error = await stream.receive()
    assert (error["type"], error["code"], error.get("quota")) == ("error", "quota_exceeded", quota), error
    assert await stream.receive() == {"type": "close", "code": 4003}
    return error


async def fetch_limits(server: ConformanceServer) -> Json:
    code, body, _ = await server.fetch_http(LIMITS)
    assert code == 200
    return body


@server_case("P10.1", "P7.18", tier_limits=ONE_STREAM)
async def a_stream_over_the_users_limit_is_refused(server: ConformanceServer) -> None:
    await server.wait_until_empty()
    async with server.open_stream() as first:
        await check_alive(first)
        async with server.open_stream() as second:
            error = await check_refused(second, "concurrent_streams")
            assert (error["limit"], error["used"]) == (1, 1)
        assert not (await fetch_limits(server))["can_start_stream"]
        await check_alive(first)


@server_case("P10.6", "P10.1", tier_limits=ONE_STREAM)
async def a_slot_is_free_when_its_stream_ends(server: ConformanceServer) -> None:
    await server.wait_until_empty()
    for leave in ("stop", "cut"):
        async with server.open_stream() as stream:
            await check_alive(stream)
            if leave == "stop":
                assert await send_and_receive(stream, {"type": "stop"}) == {"type": "close", "code": 1000}
        await server.wait_until_empty()
    async with server.open_stream() as stream:
        await check_alive(stream)


@server_case("P10.2", "P7.15", "P7.18", spends_server=True, tier_limits=LITTLE)
async def audio_beyond_the_quota_is_dropped(
    server: ConformanceServer,
) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, sample_rate=8_000, enable_partial=False)
        await stream.send(build_speech(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000))
        frames = await receive_until(stream, "full_transcript")
        assert filter_finals(frames)[-1]["segment_end"] == 3.0
        assert check_transcript(frames) == "one two three"
        error = await check_refused(stream, "daily_minutes")
        assert (error["limit"], error["used"]) == (0.05, 0.05)


@server_case("P10.2", spends_server=True, tier_limits=LITTLE)
async def quota_cuts_at_the_same_sample_for_early_small_messages(
    server: ConformanceServer,
) -> None:
    async with server.open_stream() as stream:
        audio = build_speech(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000)
        await stream.send({"type": "config", "sample_rate": 8_000, "enable_partial": False})
        for start in range(0, len(audio), 324):
            await stream.send(audio[start : start + 324])
        await stream.send({"type": "stop"})
        assert (await receive_until(stream, "status"))[-1]["state"] == "configured"
        frames = await receive_until(stream, "full_transcript")
        assert filter_finals(frames)[-1]["segment_end"] == 3.0
        assert check_transcript(frames) == "one two three"
        await check_refused(stream, "daily_minutes")


@server_case("P10.3", "P10.4", "P10.5", spends_server=True, tier_limits=LITTLE)
async def a_stream_without_minutes_left_ends_at_once(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, enable_partial=False)
        await stream.send(build_silence(1.5))
        assert (await send_and_receive(stream, b"\0\0\0"))["code"] == "bad_audio"
        assert await send_commit(stream) == [{"type": "full_transcript", "text": ""}]
        body = await fetch_limits(server)
        assert body["limits"] == {"daily_minutes": 0.05, "concurrent_streams": None}
        assert (body["tier"], body["used_today_minutes"], body["remaining_minutes"]) == (
            "local",
            0.025,
            0.025,
        )
        assert (body["active_streams"], body["can_start_stream"]) == (1, True)
        await stream.send(build_silence(2.0))
        error = await check_refused(stream, "daily_minutes")
        assert error["used"] == 0.05
    await server.wait_until_empty()
    async with server.open_stream() as stream:
        await check_refused(stream, "daily_minutes")
    body = await fetch_limits(server)
    assert (body["remaining_minutes"], body["can_start_stream"]) == (0, False)
    _, _, lines = await server.fetch_http("/metrics")
    assert 'echoic_quota_refusals_total{quota="daily_minutes"} 2.0' in lines


@server_case("P10.7", tier_limits={"local": {"concurrent_streams": 0, "daily_minutes": 0}})
async def the_core_endpoint_has_no_quotas(server: ConformanceServer) -> None:
    async with server.open_stream(CORE_PATH) as stream:
        await stream.send(build_sound(1.0))
        await send_commit(stream)
    async with server.open_stream() as stream:
        await check_refused(stream, "concurrent_streams")

"""docs/protocol.md, section 10: how many streams, and how much audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.line import (
    CORE,
    Door,
    ask,
    commit,
    configure,
    finals,
    lives,
    say,
    served,
    silence,
    sound,
    text,
    until,
)

if TYPE_CHECKING:
    from conformance.line import Json, Line

LIMITS = "/api/v1/audio/stream/limits"
ONE_STREAM = {"local": {"concurrent_streams": 1}}
#: Three seconds of audio.
LITTLE = {"local": {"daily_minutes": 0.05}}


async def refused(line: Line, quota: str) -> Json:
    error = await line.receive()
    assert (error["type"], error["code"], error.get("quota")) == ("error", "quota_exceeded", quota), error
    assert await line.receive() == {"type": "close", "code": 4003}
    return error


async def standing(door: Door) -> Json:
    code, body, _ = await door.get(LIMITS)
    assert code == 200
    return body


@served("P10.1", "P7.18", tier_limits=ONE_STREAM)
async def one_stream_of_a_user_too_many_is_told(door: Door) -> None:
    await door.emptied()
    async with door.open() as first:
        await lives(first)
        async with door.open() as second:
            error = await refused(second, "concurrent_streams")
            assert (error["limit"], error["used"]) == (1, 1)
        assert not (await standing(door))["can_start_stream"]
        await lives(first)


@served("P10.6", "P10.1", tier_limits=ONE_STREAM)
async def a_place_is_free_when_its_stream_ends(door: Door) -> None:
    await door.emptied()
    for leave in ("stop", "cut"):
        async with door.open() as line:
            await lives(line)
            if leave == "stop":
                assert await ask(line, {"type": "stop"}) == {"type": "close", "code": 1000}
        await door.emptied()
    async with door.open() as line:
        await lives(line)


@served("P10.2", "P7.15", "P7.18", spends=True, tier_limits=LITTLE)
async def what_is_beyond_the_minutes_is_not_heard_and_what_is_within_is_delivered(door: Door) -> None:
    async with door.open() as line:
        await configure(line, sample_rate=8_000, enable_partial=False)
        await line.send(say(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000))
        frames = await until(line, "full_transcript")
        assert finals(frames)[-1]["segment_end"] == 3.0
        assert text(frames) == "one two three"
        error = await refused(line, "daily_minutes")
        assert (error["limit"], error["used"]) == (0.05, 0.05)


@served("P10.2", spends=True, tier_limits=LITTLE)
async def the_same_is_heard_in_small_messages_sent_before_the_config_is_answered(door: Door) -> None:
    async with door.open() as line:
        audio = say(("one", 1.0), ("two", 1.0), ("three", 1.0), ("four", 1.0), rate=8_000)
        await line.send({"type": "config", "sample_rate": 8_000, "enable_partial": False})
        for start in range(0, len(audio), 324):
            await line.send(audio[start : start + 324])
        await line.send({"type": "stop"})
        assert (await until(line, "status"))[-1]["state"] == "configured"
        frames = await until(line, "full_transcript")
        assert finals(frames)[-1]["segment_end"] == 3.0
        assert text(frames) == "one two three"
        await refused(line, "daily_minutes")


@served("P10.3", "P10.4", "P10.5", spends=True, tier_limits=LITTLE)
async def who_has_no_minutes_left_is_told_at_once(door: Door) -> None:
    async with door.open() as line:
        await configure(line, enable_partial=False)
        await line.send(silence(1.5))
        assert (await ask(line, b"\0\0\0"))["code"] == "bad_audio"
        assert await commit(line) == [{"type": "full_transcript", "text": ""}]
        body = await standing(door)
        assert body["limits"] == {"daily_minutes": 0.05, "concurrent_streams": None}
        assert (body["tier"], body["used_today_minutes"], body["remaining_minutes"]) == (
            "local",
            0.025,
            0.025,
        )
        assert (body["active_streams"], body["can_start_stream"]) == (1, True)
        await line.send(silence(2.0))
        error = await refused(line, "daily_minutes")
        assert error["used"] == 0.05
    await door.emptied()
    async with door.open() as line:
        await refused(line, "daily_minutes")
    body = await standing(door)
    assert (body["remaining_minutes"], body["can_start_stream"]) == (0, False)
    _, _, lines = await door.get("/metrics")
    assert 'echoic_quota_refusals_total{quota="daily_minutes"} 2.0' in lines


@served("P10.7", tier_limits={"local": {"concurrent_streams": 0, "daily_minutes": 0}})
async def the_core_endpoint_counts_nobody(door: Door) -> None:
    async with door.open(CORE) as line:
        await line.send(sound(1.0))
        await commit(line)
    async with door.open() as line:
        await refused(line, "concurrent_streams")

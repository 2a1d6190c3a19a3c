"""docs/protocol.md, sections 1, 7, 8 and 9: what a server does around its streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.line import CORE, STREAM, Door, ask, commit, configure, lives, say, served, text, until
from support.patience import PATIENCE

if TYPE_CHECKING:
    from conformance.line import Json, Line

KEY = "correct horse"
LIMITS = "/api/v1/audio/stream/limits"


async def works(line: Line) -> None:
    await line.send(say("one"))
    assert text(await commit(line)) == "one"


async def refused(line: Line, code: str, close: int) -> Json:
    error = await line.receive()
    assert (error["type"], error["code"]) == ("error", code)
    assert await line.receive() == {"type": "close", "code": close}
    return error


@served("P1.1", "P1.2")
async def both_endpoints_serve_streams(door: Door) -> None:
    for path in (STREAM, CORE):
        async with door.open(path) as line:
            await works(line)


@served("P1.3")
async def status_tells_what_is_there(door: Door) -> None:
    code, body, _ = await door.get("/api/v1/audio/stream/status")
    assert code == 200
    assert {"status", "available_models", "websocket_endpoint", "supported_features", "models"} <= set(body)
    assert (body["status"], body["websocket_endpoint"]) == ("available", STREAM)
    models = {str(model["id"]): model for model in rows(body["models"])}
    assert models["parakeet-onnx"] == {
        "id": "parakeet-onnx",
        "model": "parakeet",
        "variant": "onnx",
        "available": False,
        "reason": "Its weights are missing.",
        "install": "get it",
        "word_timestamps": False,
        "languages": [],
        "loaded": False,
    }
    assert models["with-times"]["word_timestamps"] is True
    features = body["supported_features"]
    assert isinstance(features, dict)
    assert features["word_timestamps"] is True
    assert models["parakeet-mlx"]["available"] is True
    add_ons = body["add_ons"]
    assert isinstance(add_ons, dict)
    assert {name: one["available"] for name, one in add_ons.items()} == {
        name: features[name] for name in add_ons
    }
    assert all((one["reason"] is None) is one["available"] for one in add_ons.values())
    assert all(one["install"] is None or not one["available"] for one in add_ons.values())
    assert body["available_models"] == [name for name, model in models.items() if model["available"]]


@served("P1.4")
async def limits_tells_that_there_are_none(door: Door) -> None:
    async with door.open() as line:
        await lives(line)
        code, body, _ = await door.get(LIMITS)
    assert code == 200
    assert (body["active_streams"], body["can_start_stream"]) == (1, True)
    assert body["limits"] == {"daily_minutes": None, "concurrent_streams": None}
    assert body["remaining_minutes"] is None
    assert {"tier", "used_today_minutes", "server_max_streams"} <= set(body)
    await door.emptied()


@served("P1.5", preload_model="scripted")
async def health_is_told(door: Door) -> None:
    assert (await door.get("/healthz"))[0] == 200
    await door.settled()
    code, body, _ = await door.get("/readyz")
    assert (code, body["status"], body["waits_for"]) == (200, "ready", None)
    code, _, lines = await door.get("/metrics")
    assert code == 200
    assert "echoic_streams_active 0.0" in lines


@served("P1.5", preload_model="no-such-model")
async def what_is_not_ready_says_why(door: Door) -> None:
    await door.settled()
    code, body, _ = await door.get("/readyz")
    assert code == 503
    assert body["waits_for"]


@served("P6.5", "P1.7")
async def ping_is_answered_while_a_decode_runs(door: Door) -> None:
    async with door.open() as line:
        await configure(line, model="gated", enable_partial=False)
        await line.send(say(("alpha", 1.9), ("one", 0.5)))
        await asyncio.to_thread(door.gate.reached.wait, PATIENCE)
        await lives(line)
        assert (await ask(line, "nonsense"))["code"] == "bad_json"
        door.gate.open.set()
        assert text(await commit(line)) == "alpha one"


@served("P7.11", max_sessions=1)
async def one_stream_too_many_is_told(door: Door) -> None:
    await door.emptied()
    async with door.open() as first:
        await lives(first)
        async with door.open() as second:
            error = await refused(second, "server_busy", 1013)
            assert (error["limit"], error["retry_after"]) == (1, 5.0)
        await lives(first)
    await door.emptied()
    async with door.open() as third:
        await lives(third)
    await door.emptied()


@served("P7.16", "P7.12", spends=True)
async def a_server_that_stops_delivers_and_refuses(door: Door) -> None:
    async with door.open() as line:
        await configure(line, enable_partial=False)
        await line.send(say("one", "two"))
        await lives(line)
        draining = asyncio.ensure_future(door.drain())
        frames = await until(line, "full_transcript")
        assert text(frames) == "one two"
        assert await line.receive() == {"type": "close", "code": 1001}
        await draining
    async with door.open() as late:
        assert (await refused(late, "draining", 1013))["retry_after"] == 5.0


@served("P7.11", max_total_backlog_seconds=3)
async def a_server_with_too_much_to_decode_lets_nobody_in(door: Door) -> None:
    await door.emptied()
    async with door.open() as first:
        await held(first, door)
        async with door.open() as second:
            error = await refused(second, "server_busy", 1013)
            assert (error["retry_after"], error.get("limit")) == (5.0, None)
        door.gate.open.set()
        assert text(await commit(first)) == "alpha one two three four"
        async with door.open() as third:
            await lives(third)


async def held(line: Line, door: Door) -> None:
    """Let a stream wait for a decode, with 3.5 s behind it."""
    await configure(line, model="gated", enable_partial=False)
    await line.send(say(("alpha", 1.9), ("one", 0.5), ("two", 0.5), ("three", 0.5), ("four", 0.5)))
    await asyncio.to_thread(door.gate.reached.wait, PATIENCE)


@served("P9.2", max_backlog_seconds=5)
async def a_client_that_is_faster_than_the_recogniser_waits_and_loses_nothing(door: Door) -> None:
    async with door.open() as line:
        await held(line, door)
        for _ in range(20):
            await line.send(say(("one", 0.9)))
        door.gate.open.set()
        assert text(await commit(line)) == "alpha one two three four" + 20 * " one"


@served("P9.3", max_messages_per_second=500, max_audio_rate=50, max_backlog_seconds=10)
async def a_client_that_sends_too_much_is_heard_and_answered_in_the_end(door: Door) -> None:
    async with door.open() as line:
        await configure(line, enable_partial=False)
        for _ in range(1_200):
            await line.send({"type": "ping"})
        for _ in range(40):
            await line.send(say(("one", 0.9)))
        frames = await commit(line)
        assert sum(frame["type"] == "pong" for frame in frames) == 1_200
        assert text(frames) == " ".join(["one"] * 40)


@served("P9.4", falling_behind_seconds=1)
async def a_stream_that_falls_behind_is_told_once(door: Door) -> None:
    async with door.open() as line:
        await held(line, door)
        warning = (await until(line, "warning"))[-1]
        assert warning["code"] == "falling_behind"
        assert isinstance(warning["lag"], float)
        assert warning["lag"] > 1
        await lives(line)
        door.gate.open.set()
        frames = await commit(line)
        assert text([frame for frame in frames if frame["type"] != "pong"]) == "alpha one two three four"


@served("P7.22", max_stream_seconds=1.5)
async def a_stream_that_lasts_too_long_gets_what_was_heard_then_the_error(door: Door) -> None:
    async with door.open() as line:
        await configure(line, enable_partial=False)
        await line.send(say("one"))
        frames = await until(line, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert (frames[-1]["code"], frames[-1]["limit"]) == ("time_limit", 1.5)
        assert await line.receive() == {"type": "close", "code": 1001}


@served("P7.13", "P7.15", idle_timeout_seconds=1.0)
async def a_silent_client_gets_what_was_heard_then_the_error(door: Door) -> None:
    async with door.open() as line:
        await configure(line, enable_partial=False)
        await line.send(say("one"))
        frames = await until(line, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert frames[-1]["code"] == "idle_timeout"
        assert await line.receive() == {"type": "close", "code": 1001}


@served("P7.14")
async def a_fault_of_the_server_is_told_and_ends_this_stream_alone(door: Door) -> None:
    async with door.open() as other, door.open() as line:
        await configure(line, model="faulty", enable_partial=False)
        await line.send(say(("one", 2.0)))
        await refused(line, "internal_error", 1011)
        await lives(other)


@served("P8.1")
async def without_a_key_credentials_do_not_matter(door: Door) -> None:
    async with door.open(headers={"Authorization": "Bearer wrong"}, query="token=YOUR_API_KEY") as line:
        await works(line)


@served("P8.2", api_key=KEY)
async def the_key_may_come_in_three_ways(door: Door) -> None:
    right: list[tuple[dict[str, str], str]] = [
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"X-API-KEY": KEY}, ""),
        ({}, "token=correct%20horse"),
        ({"Authorization": f"Bearer {KEY}", "X-API-KEY": "wrong"}, "token=wrong"),
        ({"X-API-KEY": KEY}, "token=wrong"),
    ]
    for headers, query in right:
        async with door.open(headers=headers, query=query) as line:
            await works(line)


@served("P8.2", api_key=KEY, allow_query_token=False)
async def the_query_can_be_forbidden(door: Door) -> None:
    async with door.open(query="token=correct%20horse") as line:
        await line.send({"type": "ping"})
        await refused(line, "unauthorized", 4401)


@served("P8.9", api_key=KEY, wrong_keys_per_minute=2)
async def after_many_wrong_keys_others_wait(door: Door) -> None:
    for _ in range(2):
        async with door.open(query="token=wrong") as line:
            await refused(line, "unauthorized", 4401)
    async with door.open(query="token=wrong") as line:
        assert (await refused(line, "server_busy", 1013))["retry_after"] == 30
    assert (await door.get(LIMITS, {"X-API-KEY": "wrong"}))[0] == 429


@served("P8.3", "P6.6", api_key=KEY)
async def the_key_may_come_in_the_first_message(door: Door) -> None:
    async with door.open() as line:
        assert await ask(line, {"type": "auth", "token": KEY}) == {"type": "status", "state": "authenticated"}
        await works(line)


@served("P8.4", "P7.10", api_key=KEY)
async def a_wrong_key_is_told(door: Door) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({"Authorization": "Bearer wrong"}, ""),
        ({"Authorization": "Bearer wrong", "X-API-KEY": KEY}, ""),
        ({"X-API-KEY": "wrong"}, ""),
        ({}, "token=wrong"),
        ({}, "token="),
    ]
    for headers, query in wrong:
        async with door.open(headers=headers, query=query) as line:
            await refused(line, "unauthorized", 4401)
    for message in ({"type": "auth", "token": "wrong"}, {"type": "config"}, b"\0\0\0\0", "nonsense"):
        async with door.open() as line:
            await line.send(message)  # type: ignore[arg-type]  # messages of all kinds
            await refused(line, "unauthorized", 4401)


@served("P8.4", "P8.3", api_key=KEY, auth_timeout_seconds=0.1)
async def no_key_in_time_is_told(door: Door) -> None:
    async with door.open() as line:
        await refused(line, "unauthorized", 4401)


@served("P1.2", api_key=KEY, core_endpoint=True)
async def the_core_endpoint_asks_for_no_key(door: Door) -> None:
    async with door.open(CORE) as line:
        await works(line)


@served("P8.6", api_key=KEY)
async def a_later_auth_changes_nothing(door: Door) -> None:
    async with door.open(headers={"X-API-KEY": KEY}) as line:
        for token in ("wrong", KEY):
            answer = await ask(line, {"type": "auth", "token": token})
            assert answer == {"type": "status", "state": "authenticated"}
        await works(line)


@served("P8.7", "P7.19", api_key=KEY, allowed_origins="https://friend.example")
async def another_page_is_told(door: Door) -> None:
    async with door.open(headers={"X-API-KEY": KEY, "Origin": "https://friend.example"}) as line:
        await works(line)
    async with door.open(headers={"X-API-KEY": KEY, "Origin": "https://other.example"}) as line:
        await refused(line, "forbidden", 4403)


@served("P8.7", "P8.8")
async def without_a_key_only_own_and_local_pages_and_names_are_served(door: Door) -> None:
    for path in (STREAM, CORE):
        async with door.open(path, headers={"Origin": "http://localhost:3000"}) as line:
            await works(line)
        async with door.open(path, headers={"Origin": "https://other.example"}) as line:
            await refused(line, "forbidden", 4403)
    assert (await door.get(LIMITS, {"Host": "other.example"}))[0] == 403
    assert (await door.get(LIMITS, {"Host": "speech.local:8000"}))[0] == 200


@served("P8.7", allowed_addresses="192.0.2.7")
async def an_address_that_is_not_allowed_is_told(door: Door) -> None:
    async with door.open() as line:
        await refused(line, "forbidden", 4403)
    assert (await door.get(LIMITS))[0] == 403


@served("P8.5", "P1.4", api_key=KEY)
async def limits_asks_for_the_key(door: Door) -> None:
    assert (await door.get(LIMITS))[0] == 401
    assert (await door.get(LIMITS, {"X-API-KEY": KEY}))[0] == 200


@served("P9.1")
async def a_client_that_goes_away_leaves_nothing_behind(door: Door) -> None:
    for _ in range(5):
        async with door.open() as line:
            await configure(line)
            await line.send(say("one", "two", "three") * 5)
    await door.emptied()
    _, _, lines = await door.get("/metrics")
    assert "echoic_streams_active 0.0" in lines


def rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value

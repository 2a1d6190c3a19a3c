"""docs/protocol.md, sections 1, 7, 8 and 9: what a server does around its streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.line import (
    CORE_PATH,
    STREAM_PATH,
    ConformanceServer,
    build_speech,
    check_alive,
    check_transcript,
    receive_until,
    send_and_receive,
    send_commit,
    send_config,
    server_case,
)
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from conformance.line import ClientStream, Json

KEY = "correct horse"
LIMITS = "/api/v1/audio/stream/limits"


async def works(line: ClientStream) -> None:
    await line.send(build_speech("one"))
    assert check_transcript(await send_commit(line)) == "one"


async def refused(line: ClientStream, code: str, close: int) -> Json:
    error = await line.receive()
    assert (error["type"], error["code"]) == ("error", code)
    assert await line.receive() == {"type": "close", "code": close}
    return error


@server_case("P1.1", "P1.2")
async def both_endpoints_serve_streams(door: ConformanceServer) -> None:
    for path in (STREAM_PATH, CORE_PATH):
        async with door.open_stream(path) as line:
            await works(line)


@server_case("P1.3")
async def status_tells_what_is_there(door: ConformanceServer) -> None:
    code, body, _ = await door.fetch_http("/api/v1/audio/stream/status")
    assert code == 200
    assert {"status", "available_models", "websocket_endpoint", "supported_features", "models"} <= set(body)
    assert (body["status"], body["websocket_endpoint"]) == ("available", STREAM_PATH)
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


@server_case("P1.4")
async def limits_tells_that_there_are_none(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await check_alive(line)
        code, body, _ = await door.fetch_http(LIMITS)
    assert code == 200
    assert (body["active_streams"], body["can_start_stream"]) == (1, True)
    assert body["limits"] == {"daily_minutes": None, "concurrent_streams": None}
    assert body["remaining_minutes"] is None
    assert {"tier", "used_today_minutes", "server_max_streams"} <= set(body)
    await door.wait_until_empty()


@server_case("P1.5", preload_model="scripted")
async def health_is_told(door: ConformanceServer) -> None:
    assert (await door.fetch_http("/healthz"))[0] == 200
    await door.wait_until_preloaded()
    code, body, _ = await door.fetch_http("/readyz")
    assert (code, body["status"], body["waits_for"]) == (200, "ready", None)
    code, _, lines = await door.fetch_http("/metrics")
    assert code == 200
    assert "echoic_streams_active 0.0" in lines


@server_case("P1.5", preload_model="no-such-model")
async def what_is_not_ready_says_why(door: ConformanceServer) -> None:
    await door.wait_until_preloaded()
    code, body, _ = await door.fetch_http("/readyz")
    assert code == 503
    assert body["waits_for"]


@server_case("P6.5", "P1.7")
async def ping_is_answered_while_a_decode_runs(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, model="gated", enable_partial=False)
        await line.send(build_speech(("alpha", 1.9), ("one", 0.5)))
        await asyncio.to_thread(door.gate.reached.wait, WAIT_SECONDS)
        await check_alive(line)
        assert (await send_and_receive(line, "nonsense"))["code"] == "bad_json"
        door.gate.released.set()
        assert check_transcript(await send_commit(line)) == "alpha one"


@server_case("P7.11", max_sessions=1)
async def one_stream_too_many_is_told(door: ConformanceServer) -> None:
    await door.wait_until_empty()
    async with door.open_stream() as first:
        await check_alive(first)
        async with door.open_stream() as second:
            error = await refused(second, "server_busy", 1013)
            assert (error["limit"], error["retry_after"]) == (1, 5.0)
        await check_alive(first)
    await door.wait_until_empty()
    async with door.open_stream() as third:
        await check_alive(third)
    await door.wait_until_empty()


@server_case("P7.16", "P7.12", spends_server=True)
async def a_server_that_stops_delivers_and_refuses(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, enable_partial=False)
        await line.send(build_speech("one", "two"))
        await check_alive(line)
        draining = asyncio.ensure_future(door.drain())
        frames = await receive_until(line, "full_transcript")
        assert check_transcript(frames) == "one two"
        assert await line.receive() == {"type": "close", "code": 1001}
        await draining
    async with door.open_stream() as late:
        assert (await refused(late, "draining", 1013))["retry_after"] == 5.0


@server_case("P7.11", max_total_backlog_seconds=3)
async def a_server_with_too_much_to_decode_lets_nobody_in(door: ConformanceServer) -> None:
    await door.wait_until_empty()
    async with door.open_stream() as first:
        await held(first, door)
        async with door.open_stream() as second:
            error = await refused(second, "server_busy", 1013)
            assert (error["retry_after"], error.get("limit")) == (5.0, None)
        door.gate.released.set()
        assert check_transcript(await send_commit(first)) == "alpha one two three four"
        async with door.open_stream() as third:
            await check_alive(third)


async def held(line: ClientStream, door: ConformanceServer) -> None:
    """Let a stream wait for a decode, with 3.5 s behind it."""
    await send_config(line, model="gated", enable_partial=False)
    await line.send(build_speech(("alpha", 1.9), ("one", 0.5), ("two", 0.5), ("three", 0.5), ("four", 0.5)))
    await asyncio.to_thread(door.gate.reached.wait, WAIT_SECONDS)


@server_case("P9.2", max_backlog_seconds=5)
async def a_client_that_is_faster_than_the_recogniser_waits_and_loses_nothing(
    door: ConformanceServer,
) -> None:
    async with door.open_stream() as line:
        await held(line, door)
        for _ in range(20):
            await line.send(build_speech(("one", 0.9)))
        door.gate.released.set()
        assert check_transcript(await send_commit(line)) == "alpha one two three four" + 20 * " one"


@server_case("P9.3", max_messages_per_second=500, max_audio_rate=50, max_backlog_seconds=10)
async def a_client_that_sends_too_much_is_heard_and_answered_in_the_end(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, enable_partial=False)
        for _ in range(1_200):
            await line.send({"type": "ping"})
        for _ in range(40):
            await line.send(build_speech(("one", 0.9)))
        frames = await send_commit(line)
        assert sum(frame["type"] == "pong" for frame in frames) == 1_200
        assert check_transcript(frames) == " ".join(["one"] * 40)


@server_case("P9.4", falling_behind_seconds=1)
async def a_stream_that_falls_behind_is_told_once(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await held(line, door)
        warning = (await receive_until(line, "warning"))[-1]
        assert warning["code"] == "falling_behind"
        assert isinstance(warning["lag"], float)
        assert warning["lag"] > 1
        await check_alive(line)
        door.gate.released.set()
        frames = await send_commit(line)
        assert (
            check_transcript([frame for frame in frames if frame["type"] != "pong"])
            == "alpha one two three four"
        )


@server_case("P7.22", max_stream_seconds=1.5)
async def a_stream_that_lasts_too_long_gets_what_was_heard_then_the_error(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, enable_partial=False)
        await line.send(build_speech("one"))
        frames = await receive_until(line, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert (frames[-1]["code"], frames[-1]["limit"]) == ("time_limit", 1.5)
        assert await line.receive() == {"type": "close", "code": 1001}


@server_case("P7.13", "P7.15", idle_timeout_seconds=1.0)
async def a_silent_client_gets_what_was_heard_then_the_error(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await send_config(line, enable_partial=False)
        await line.send(build_speech("one"))
        frames = await receive_until(line, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert frames[-1]["code"] == "idle_timeout"
        assert await line.receive() == {"type": "close", "code": 1001}


@server_case("P7.14")
async def a_fault_of_the_server_is_told_and_ends_this_stream_alone(door: ConformanceServer) -> None:
    async with door.open_stream() as other, door.open_stream() as line:
        await send_config(line, model="faulty", enable_partial=False)
        await line.send(build_speech(("one", 2.0)))
        await refused(line, "internal_error", 1011)
        await check_alive(other)


@server_case("P8.1")
async def without_a_key_credentials_do_not_matter(door: ConformanceServer) -> None:
    async with door.open_stream(
        headers={"Authorization": "Bearer wrong"}, query="token=YOUR_API_KEY"
    ) as line:
        await works(line)


@server_case("P8.2", api_key=KEY)
async def the_key_may_come_in_three_ways(door: ConformanceServer) -> None:
    right: list[tuple[dict[str, str], str]] = [
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"X-API-KEY": KEY}, ""),
        ({}, "token=correct%20horse"),
        ({"Authorization": f"Bearer {KEY}", "X-API-KEY": "wrong"}, "token=wrong"),
        ({"X-API-KEY": KEY}, "token=wrong"),
    ]
    for headers, query in right:
        async with door.open_stream(headers=headers, query=query) as line:
            await works(line)


@server_case("P8.2", api_key=KEY, allow_query_token=False)
async def the_query_can_be_forbidden(door: ConformanceServer) -> None:
    async with door.open_stream(query="token=correct%20horse") as line:
        await line.send({"type": "ping"})
        await refused(line, "unauthorized", 4401)


@server_case("P8.9", api_key=KEY, wrong_keys_per_minute=2)
async def after_many_wrong_keys_others_wait(door: ConformanceServer) -> None:
    for _ in range(2):
        async with door.open_stream(query="token=wrong") as line:
            await refused(line, "unauthorized", 4401)
    async with door.open_stream(query="token=wrong") as line:
        assert (await refused(line, "server_busy", 1013))["retry_after"] == 30
    assert (await door.fetch_http(LIMITS, {"X-API-KEY": "wrong"}))[0] == 429


@server_case("P8.3", "P6.6", api_key=KEY)
async def the_key_may_come_in_the_first_message(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        assert await send_and_receive(line, {"type": "auth", "token": KEY}) == {
            "type": "status",
            "state": "authenticated",
        }
        await works(line)


@server_case("P8.4", "P7.10", api_key=KEY)
async def a_wrong_key_is_told(door: ConformanceServer) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({"Authorization": "Bearer wrong"}, ""),
        ({"Authorization": "Bearer wrong", "X-API-KEY": KEY}, ""),
        ({"X-API-KEY": "wrong"}, ""),
        ({}, "token=wrong"),
        ({}, "token="),
    ]
    for headers, query in wrong:
        async with door.open_stream(headers=headers, query=query) as line:
            await refused(line, "unauthorized", 4401)
    for message in ({"type": "auth", "token": "wrong"}, {"type": "config"}, b"\0\0\0\0", "nonsense"):
        async with door.open_stream() as line:
            await line.send(message)  # type: ignore[arg-type]  # messages of all kinds
            await refused(line, "unauthorized", 4401)


@server_case("P8.4", "P8.3", api_key=KEY, auth_timeout_seconds=0.1)
async def no_key_in_time_is_told(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await refused(line, "unauthorized", 4401)


@server_case("P1.2", api_key=KEY, core_endpoint=True)
async def the_core_endpoint_asks_for_no_key(door: ConformanceServer) -> None:
    async with door.open_stream(CORE_PATH) as line:
        await works(line)


@server_case("P8.6", api_key=KEY)
async def a_later_auth_changes_nothing(door: ConformanceServer) -> None:
    async with door.open_stream(headers={"X-API-KEY": KEY}) as line:
        for token in ("wrong", KEY):
            answer = await send_and_receive(line, {"type": "auth", "token": token})
            assert answer == {"type": "status", "state": "authenticated"}
        await works(line)


@server_case("P8.7", "P7.19", api_key=KEY, allowed_origins="https://friend.example")
async def another_page_is_told(door: ConformanceServer) -> None:
    async with door.open_stream(headers={"X-API-KEY": KEY, "Origin": "https://friend.example"}) as line:
        await works(line)
    async with door.open_stream(headers={"X-API-KEY": KEY, "Origin": "https://other.example"}) as line:
        await refused(line, "forbidden", 4403)


@server_case("P8.7", "P8.8")
async def without_a_key_only_own_and_local_pages_and_names_are_served(door: ConformanceServer) -> None:
    for path in (STREAM_PATH, CORE_PATH):
        async with door.open_stream(path, headers={"Origin": "http://localhost:3000"}) as line:
            await works(line)
        async with door.open_stream(path, headers={"Origin": "https://other.example"}) as line:
            await refused(line, "forbidden", 4403)
    assert (await door.fetch_http(LIMITS, {"Host": "other.example"}))[0] == 403
    assert (await door.fetch_http(LIMITS, {"Host": "speech.local:8000"}))[0] == 200


@server_case("P8.7", allowed_addresses="192.0.2.7")
async def an_address_that_is_not_allowed_is_told(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await refused(line, "forbidden", 4403)
    assert (await door.fetch_http(LIMITS))[0] == 403


@server_case("P8.5", "P1.4", api_key=KEY)
async def limits_asks_for_the_key(door: ConformanceServer) -> None:
    assert (await door.fetch_http(LIMITS))[0] == 401
    assert (await door.fetch_http(LIMITS, {"X-API-KEY": KEY}))[0] == 200


@server_case("P9.1")
async def a_client_that_goes_away_leaves_nothing_behind(door: ConformanceServer) -> None:
    for _ in range(5):
        async with door.open_stream() as line:
            await send_config(line)
            await line.send(build_speech("one", "two", "three") * 5)
    await door.wait_until_empty()
    _, _, lines = await door.fetch_http("/metrics")
    assert "echoic_streams_active 0.0" in lines


def rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value

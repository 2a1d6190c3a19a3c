"""docs/protocol.md, sections 1, 7, 8 and 9: endpoints, admission, keys, backpressure."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from conformance.client_api import (
    CORE_PATH,
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
from echoic.protocol.constants import STREAM_PATH
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from conformance.client_api import ClientStream, Json

KEY = "correct horse"
LIMITS = "/api/v1/audio/stream/limits"


async def check_stream(stream: ClientStream) -> None:
    await stream.send(build_speech("one"))
    assert check_transcript(await send_commit(stream)) == "one"


async def check_refused(stream: ClientStream, code: str, close: int) -> Json:
    error = await stream.receive()
    assert (error["type"], error["code"]) == ("error", code)
    assert await stream.receive() == {"type": "close", "code": close}
    return error


@server_case("P1.1", "P1.2")
async def both_endpoints_serve_streams(server: ConformanceServer) -> None:
    for path in (STREAM_PATH, CORE_PATH):
        async with server.open_stream(path) as stream:
            await check_stream(stream)


@server_case("P1.3")
async def status_lists_models_and_add_ons(server: ConformanceServer) -> None:
    code, body, _ = await server.fetch_http("/api/v1/audio/stream/status")
    assert code == 200
    assert {"status", "available_models", "websocket_endpoint", "supported_features", "models"} <= set(body)
    assert (body["status"], body["websocket_endpoint"]) == ("available", STREAM_PATH)
    models = {str(model["id"]): model for model in check_rows(body["models"])}
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
async def limits_without_quotas_are_null(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await check_alive(stream)
        code, body, _ = await server.fetch_http(LIMITS)
    assert code == 200
    assert (body["active_streams"], body["can_start_stream"]) == (1, True)
    assert body["limits"] == {"daily_minutes": None, "concurrent_streams": None}
    assert body["remaining_minutes"] is None
    assert {"tier", "used_today_minutes", "server_max_streams"} <= set(body)
    await server.wait_until_empty()


@server_case("P1.5", preload_model="scripted")
async def health_endpoints_answer(server: ConformanceServer) -> None:
    assert (await server.fetch_http("/healthz"))[0] == 200
    await server.wait_until_preloaded()
    code, body, _ = await server.fetch_http("/readyz")
    assert (code, body["status"], body["waits_for"]) == (200, "ready", None)
    code, _, lines = await server.fetch_http("/metrics")
    assert code == 200
    assert "echoic_streams_active 0.0" in lines


@server_case("P1.5", preload_model="no-such-model")
async def readyz_says_what_it_waits_for(server: ConformanceServer) -> None:
    await server.wait_until_preloaded()
    code, body, _ = await server.fetch_http("/readyz")
    assert code == 503
    assert body["waits_for"]


@server_case("P6.5", "P1.7")
async def ping_is_answered_while_a_decode_runs(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, model="gated", enable_partial=False)
        await stream.send(build_speech(("alpha", 1.9), ("one", 0.5)))
        await asyncio.to_thread(server.gate.reached.wait, WAIT_SECONDS)
        await check_alive(stream)
        assert (await send_and_receive(stream, "nonsense"))["code"] == "bad_json"
        server.gate.released.set()
        assert check_transcript(await send_commit(stream)) == "alpha one"


@server_case("P7.11", max_sessions=1)
async def a_stream_over_the_servers_limit_is_refused(server: ConformanceServer) -> None:
    await server.wait_until_empty()
    async with server.open_stream() as first:
        await check_alive(first)
        async with server.open_stream() as second:
            error = await check_refused(second, "server_busy", 1013)
            assert (error["limit"], error["retry_after"]) == (1, 5.0)
        await check_alive(first)
    await server.wait_until_empty()
    async with server.open_stream() as third:
        await check_alive(third)
    await server.wait_until_empty()


@server_case("P7.16", "P7.12", spends_server=True)
async def a_draining_server_delivers_and_refuses_new_streams(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, enable_partial=False)
        await stream.send(build_speech("one", "two"))
        await check_alive(stream)
        draining = asyncio.ensure_future(server.drain())
        frames = await receive_until(stream, "full_transcript")
        assert check_transcript(frames) == "one two"
        assert await stream.receive() == {"type": "close", "code": 1001}
        await draining
    async with server.open_stream() as late:
        assert (await check_refused(late, "draining", 1013))["retry_after"] == 5.0


@server_case("P7.11", max_total_backlog_seconds=3)
async def an_overloaded_server_refuses_new_streams(server: ConformanceServer) -> None:
    await server.wait_until_empty()
    async with server.open_stream() as first:
        await hold_decode(first, server)
        async with server.open_stream() as second:
            error = await check_refused(second, "server_busy", 1013)
            assert (error["retry_after"], error.get("limit")) == (5.0, None)
        server.gate.released.set()
        assert check_transcript(await send_commit(first)) == "alpha one two three four"
        async with server.open_stream() as third:
            await check_alive(third)


async def hold_decode(stream: ClientStream, server: ConformanceServer) -> None:
    """Block a stream in a decode, with 3.5 s queued."""
    await send_config(stream, model="gated", enable_partial=False)
    await stream.send(build_speech(("alpha", 1.9), ("one", 0.5), ("two", 0.5), ("three", 0.5), ("four", 0.5)))
    await asyncio.to_thread(server.gate.reached.wait, WAIT_SECONDS)


@server_case("P9.2", max_backlog_seconds=5)
async def a_fast_client_is_slowed_down_and_loses_nothing(
    server: ConformanceServer,
) -> None:
    async with server.open_stream() as stream:
        await hold_decode(stream, server)
        for _ in range(20):
            await stream.send(build_speech(("one", 0.9)))
        server.gate.released.set()
        assert check_transcript(await send_commit(stream)) == "alpha one two three four" + 20 * " one"


@server_case("P9.3", max_messages_per_second=500, max_audio_rate=50, max_backlog_seconds=10)
async def a_flooding_client_is_slowed_down_and_served(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, enable_partial=False)
        for _ in range(1_200):
            await stream.send({"type": "ping"})
        for _ in range(40):
            await stream.send(build_speech(("one", 0.9)))
        frames = await send_commit(stream)
        assert sum(frame["type"] == "pong" for frame in frames) == 1_200
        assert check_transcript(frames) == " ".join(["one"] * 40)


@server_case("P9.4", falling_behind_seconds=1)
async def a_stream_that_falls_behind_is_warned_once(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await hold_decode(stream, server)
        warning = (await receive_until(stream, "warning"))[-1]
        assert warning["code"] == "falling_behind"
        assert isinstance(warning["lag"], float)
        assert warning["lag"] > 1
        await check_alive(stream)
        server.gate.released.set()
        frames = await send_commit(stream)
        assert (
            check_transcript([frame for frame in frames if frame["type"] != "pong"])
            == "alpha one two three four"
        )


@server_case("P7.22", max_stream_seconds=1.5)
async def a_stream_over_its_time_limit_ends_with_an_error(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, enable_partial=False)
        await stream.send(build_speech("one"))
        frames = await receive_until(stream, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert (frames[-1]["code"], frames[-1]["limit"]) == ("time_limit", 1.5)
        assert await stream.receive() == {"type": "close", "code": 1001}


@server_case("P7.13", "P7.15", idle_timeout_seconds=1.0)
async def an_idle_stream_ends_with_an_error(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await send_config(stream, enable_partial=False)
        await stream.send(build_speech("one"))
        frames = await receive_until(stream, "error")
        assert [f["type"] for f in frames] == ["final", "full_transcript", "error"]
        assert frames[-1]["code"] == "idle_timeout"
        assert await stream.receive() == {"type": "close", "code": 1001}


@server_case("P7.14")
async def an_internal_error_ends_only_its_own_stream(server: ConformanceServer) -> None:
    async with server.open_stream() as other, server.open_stream() as stream:
        await send_config(stream, model="faulty", enable_partial=False)
        await stream.send(build_speech(("one", 2.0)))
        await check_refused(stream, "internal_error", 1011)
        await check_alive(other)


@server_case("P8.1")
async def without_keys_credentials_are_ignored(server: ConformanceServer) -> None:
    async with server.open_stream(
        headers={"Authorization": "Bearer wrong"}, query="token=YOUR_API_KEY"
    ) as stream:
        await check_stream(stream)


@server_case("P8.2", api_key=KEY)
async def a_key_is_accepted_in_header_or_query(server: ConformanceServer) -> None:
    right: list[tuple[dict[str, str], str]] = [
        ({"Authorization": f"Bearer {KEY}"}, ""),
        ({"X-API-KEY": KEY}, ""),
        ({}, "token=correct%20horse"),
        ({"Authorization": f"Bearer {KEY}", "X-API-KEY": "wrong"}, "token=wrong"),
        ({"X-API-KEY": KEY}, "token=wrong"),
    ]
    for headers, query in right:
        async with server.open_stream(headers=headers, query=query) as stream:
            await check_stream(stream)


@server_case("P8.2", api_key=KEY, allow_query_token=False)
async def keys_in_the_query_can_be_forbidden(server: ConformanceServer) -> None:
    async with server.open_stream(query="token=correct%20horse") as stream:
        await stream.send({"type": "ping"})
        await check_refused(stream, "unauthorized", 4401)


@server_case("P8.9", api_key=KEY, wrong_keys_per_minute=2)
async def many_wrong_keys_throttle_their_address(server: ConformanceServer) -> None:
    for _ in range(2):
        async with server.open_stream(query="token=wrong") as stream:
            await check_refused(stream, "unauthorized", 4401)
    async with server.open_stream(query="token=wrong") as stream:
        assert (await check_refused(stream, "server_busy", 1013))["retry_after"] == 30
    assert (await server.fetch_http(LIMITS, {"X-API-KEY": "wrong"}))[0] == 429


@server_case("P8.3", "P6.6", api_key=KEY)
async def a_key_is_accepted_in_the_first_message(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        assert await send_and_receive(stream, {"type": "auth", "token": KEY}) == {
            "type": "status",
            "state": "authenticated",
        }
        await check_stream(stream)


@server_case("P8.4", "P7.10", api_key=KEY)
async def a_wrong_key_is_refused(server: ConformanceServer) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({"Authorization": "Bearer wrong"}, ""),
        ({"Authorization": "Bearer wrong", "X-API-KEY": KEY}, ""),
        ({"X-API-KEY": "wrong"}, ""),
        ({}, "token=wrong"),
        ({}, "token="),
    ]
    for headers, query in wrong:
        async with server.open_stream(headers=headers, query=query) as stream:
            await check_refused(stream, "unauthorized", 4401)
    for message in ({"type": "auth", "token": "wrong"}, {"type": "config"}, b"\0\0\0\0", "nonsense"):
        async with server.open_stream() as stream:
            await stream.send(message)  # type: ignore[arg-type]  # messages of all kinds
            await check_refused(stream, "unauthorized", 4401)


@server_case("P8.4", "P8.3", api_key=KEY, auth_timeout_seconds=0.1)
async def a_client_without_a_key_in_time_is_refused(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await check_refused(stream, "unauthorized", 4401)


@server_case("P1.2", api_key=KEY, core_endpoint=True)
async def the_core_endpoint_needs_no_key(server: ConformanceServer) -> None:
    async with server.open_stream(CORE_PATH) as stream:
        await check_stream(stream)


@server_case("P8.6", api_key=KEY)
async def a_later_auth_changes_nothing(server: ConformanceServer) -> None:
    async with server.open_stream(headers={"X-API-KEY": KEY}) as stream:
        for token in ("wrong", KEY):
            answer = await send_and_receive(stream, {"type": "auth", "token": token})
            assert answer == {"type": "status", "state": "authenticated"}
        await check_stream(stream)


@server_case("P8.7", "P7.19", api_key=KEY, allowed_origins="https://friend.example")
async def a_page_of_another_origin_is_refused(server: ConformanceServer) -> None:
    async with server.open_stream(headers={"X-API-KEY": KEY, "Origin": "https://friend.example"}) as stream:
        await check_stream(stream)
    async with server.open_stream(headers={"X-API-KEY": KEY, "Origin": "https://other.example"}) as stream:
        await check_refused(stream, "forbidden", 4403)


@server_case("P8.7", "P8.8")
async def without_a_key_only_local_origins_and_hosts_are_served(server: ConformanceServer) -> None:
    for path in (STREAM_PATH, CORE_PATH):
        async with server.open_stream(path, headers={"Origin": "http://localhost:3000"}) as stream:
            await check_stream(stream)
        async with server.open_stream(path, headers={"Origin": "https://other.example"}) as stream:
            await check_refused(stream, "forbidden", 4403)
    assert (await server.fetch_http(LIMITS, {"Host": "other.example"}))[0] == 403
    assert (await server.fetch_http(LIMITS, {"Host": "speech.local:8000"}))[0] == 200


@server_case("P8.7", allowed_addresses="192.0.2.7")
async def an_address_that_is_not_allowed_is_refused(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await check_refused(stream, "forbidden", 4403)
    assert (await server.fetch_http(LIMITS))[0] == 403


@server_case("P8.5", "P1.4", api_key=KEY)
async def limits_needs_the_key(server: ConformanceServer) -> None:
    assert (await server.fetch_http(LIMITS))[0] == 401
    assert (await server.fetch_http(LIMITS, {"X-API-KEY": KEY}))[0] == 200


@server_case("P9.1")
async def a_lost_client_frees_its_slot(server: ConformanceServer) -> None:
    for _ in range(5):
        async with server.open_stream() as stream:
            await send_config(stream)
            await stream.send(build_speech("one", "two", "three") * 5)
    await server.wait_until_empty()
    _, _, lines = await server.fetch_http("/metrics")
    assert "echoic_streams_active 0.0" in lines


def check_rows(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value

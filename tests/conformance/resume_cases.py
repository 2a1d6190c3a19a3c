"""docs/protocol.md, section 11: sessions that outlive their connections."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from conformance.line import (
    CORE_PATH,
    ConformanceServer,
    build_speech,
    check_alive,
    check_transcript,
    filter_finals,
    receive_until,
    send_and_receive,
    send_commit,
    send_config,
    server_case,
    stream_case,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conformance.line import ClientStream, Json

KEYS = {"resumable", "session", "resume_token", "resume_seconds"}
KEY = {"X-API-KEY": "correct horse"}
ONE_STREAM = {"local": {"concurrent_streams": 1}}


async def begin(line: ClientStream) -> Json:
    return await send_config(line, resumable=True, enable_partial=False)


def wish(status: Json, received: object = 1) -> Json:
    return {"type": "config", "resume": status["resume_token"], "received": received}


async def refused(line: ClientStream) -> None:
    error = await line.receive()
    assert (error["type"], error["code"]) == ("error", "resume_failed"), error
    assert error["message"]
    assert await line.receive() == {"type": "close", "code": 4404}


@asynccontextmanager
async def cut_after(door: ConformanceServer, *words: str) -> AsyncIterator[Json]:
    """A session that heard words and a ping, and lost its client."""
    async with door.open_stream() as line:
        status = await begin(line)
        await line.send(build_speech(*words))
        await line.send({"type": "ping"})
        await receive_until(line, "pong")
    yield status


@stream_case("P11.1")
async def who_does_not_ask_sees_nothing_of_it(line: ClientStream) -> None:
    assert not KEYS & set(await send_config(line))
    assert await send_and_receive(line, {"type": "ping"}) == {"type": "pong"}


@server_case("P11.1", "P11.2")
async def who_asks_gets_a_token_and_numbers(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        status = await begin(line)
        assert (status["resumable"], status["resume_seconds"], status["seq"]) == (True, 30.0, 1)
        assert len(str(status["resume_token"])) > 40
        assert (await send_and_receive(line, {"type": "ping"}))["seq"] == 2
        await line.send(build_speech("one", "two"))
        assert [frame["seq"] for frame in await send_commit(line)] == [3, 4]
        assert await send_and_receive(line, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.1", resume_seconds=0)
async def a_server_that_keeps_none_says_so(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        status = await begin(line)
        assert status["resumable"] is False
        assert KEYS & set(status) == {"resumable"}
        await check_alive(line)


@server_case("P11.3", "P11.4", "P11.5")
async def a_session_goes_on_where_it_was_cut(door: ConformanceServer) -> None:
    audio = build_speech(*[("one", 0.7), ("two", 0.7), ("three", 0.7), ("four", 0.7), ("five", 0.7)])
    async with door.open_stream() as line:
        status = await begin(line)
        await line.send(audio[:80_000])
        await line.send(b"\0\0\0")
        await receive_until(line, "error")
    async with door.open_stream() as line:
        told = await send_and_receive(line, wish(status))
        assert told == {
            "type": "status",
            "state": "resumed",
            "session": status["session"],
            "received_messages": 3,
            "received_samples": 20_000,
        }
        await line.send(audio[80_000:])
        await line.send({"type": "commit"})
        frames = await receive_until(line, "full_transcript")
        assert check_transcript(frames) == "one two three four five"
        assert {"error", "final", "full_transcript"} == {frame["type"] for frame in frames}
        assert [frame["seq"] for frame in frames] == list(range(2, 2 + len(frames)))
        assert await send_and_receive(line, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.3", "P11.6")
async def only_what_was_not_received_comes_again(door: ConformanceServer) -> None:
    async with cut_after(door, "one", "two") as status:
        async with door.open_stream() as line:
            assert (await send_and_receive(line, wish(status)))["state"] == "resumed"
            *_, transcript = frames = await send_commit(line)
            assert check_transcript(frames) == "one two"
        async with door.open_stream() as line:
            assert (await send_and_receive(line, wish(status, transcript["seq"])))["received_messages"] == 4
            assert await send_commit(line) == [
                {"type": "full_transcript", "text": "", "seq": int(str(transcript["seq"])) + 1}
            ]
            await line.send({"type": "stop"})
            assert await line.receive() == {"type": "close", "code": 1000}


@server_case("P11.6")
async def another_connection_takes_the_place_of_one_that_is_still_there(door: ConformanceServer) -> None:
    async with door.open_stream() as first:
        status = await begin(first)
        async with door.open_stream() as second:
            assert (await send_and_receive(second, wish(status)))["received_messages"] == 1
            assert await first.receive() == {"type": "close", "code": 4409}
            await first.send(build_speech("seven"))
            await second.send(build_speech("one", "two"))
            assert check_transcript(await send_commit(second)) == "one two"
            assert await send_and_receive(second, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.5", "P11.9", tier_limits=ONE_STREAM)
async def a_session_that_waits_keeps_its_place(door: ConformanceServer) -> None:
    await door.wait_until_empty()
    async with cut_after(door, "one") as status:
        async with door.open_stream() as line:
            error = await send_and_receive(line, {"type": "config"})
            assert error["code"] == "quota_exceeded"
        async with door.open_stream() as line:
            assert (await send_and_receive(line, wish(status)))["state"] == "resumed"
            await line.send({"type": "stop"})
            assert check_transcript(await receive_until(line, "full_transcript")) == "one"
            assert await line.receive() == {"type": "close", "code": 1000}
        await door.wait_until_empty()
    async with door.open_stream() as line:
        await check_alive(line)


@server_case("P11.7", "P7.20")
async def a_wrong_wish_is_told(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        await line.send({"type": "config", "resume": "nobody.knows"})
        await refused(line)
    async with cut_after(door, "one") as status:
        name = str(status["session"])
        for token in ("", name, f"{name}.", f"{name}.é", "é", 7, True):
            async with door.open_stream() as line:
                await line.send({"type": "config", "resume": token})
                await refused(line)
        for received in (99, -1, "1", 1.5, True):
            async with door.open_stream() as line:
                await line.send(wish(status, received))
                await refused(line)
        async with door.open_stream() as line:
            await check_alive(line)
            await line.send(wish(status))
            await refused(line)
        async with door.open_stream() as line:
            await line.send(wish(status))
            await line.send({"type": "stop"})
            assert check_transcript((await receive_until(line, "full_transcript"))[1:]) == "one"


@server_case("P11.7", api_key="correct horse", core_endpoint=True)
async def another_users_session_cannot_be_had(door: ConformanceServer) -> None:
    async with door.open_stream(headers=KEY) as line:
        status = await begin(line)
    async with door.open_stream(CORE_PATH) as line:
        await line.send(wish(status))
        await refused(line)
    async with door.open_stream() as line:
        await line.send(wish(status))
        assert (await line.receive())["code"] == "unauthorized"
    async with door.open_stream(headers=KEY) as line:
        assert (await send_and_receive(line, wish(status)))["state"] == "resumed"
        assert await send_and_receive(line, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.8")
async def who_missed_the_end_gets_it(door: ConformanceServer) -> None:
    async with door.open_stream() as line:
        status = await begin(line)
        await line.send(build_speech("one", "two"))
        await line.send({"type": "stop"})
        await receive_until(line, "full_transcript")
    await door.wait_until_empty()
    for _ in range(2):
        async with door.open_stream() as line:
            assert (await send_and_receive(line, wish(status)))["received_messages"] == 3
            frames = await receive_until(line, "full_transcript")
            assert check_transcript(frames) == "one two"
            assert len(filter_finals(frames)) == 1
            assert await line.receive() == {"type": "close", "code": 1000}


@server_case("P11.9", "P11.7", resume_seconds=0.05)
async def after_its_time_a_session_is_gone(door: ConformanceServer) -> None:
    async with cut_after(door, "one") as status:
        await door.wait_until_empty()
        async with door.open_stream() as line:
            await line.send(wish(status))
            await refused(line)

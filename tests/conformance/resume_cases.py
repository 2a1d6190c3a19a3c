"""docs/protocol.md, section 11: resuming sessions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from conformance.client_api import (
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

    from conformance.client_api import ClientStream, Json

KEYS = {"resumable", "session", "resume_token", "resume_seconds"}
KEY = {"X-API-KEY": "correct horse"}
ONE_STREAM = {"local": {"concurrent_streams": 1}}


async def start_resumable(stream: ClientStream) -> Json:
    return await send_config(stream, resumable=True, enable_partial=False)


def build_resume(status: Json, received: object = 1) -> Json:
    return {"type": "config", "resume": status["resume_token"], "received": received}


async def check_refused(stream: ClientStream) -> None:
    error = await stream.receive()
    assert (error["type"], error["code"]) == ("error", "resume_failed"), error
    assert error["message"]
    assert await stream.receive() == {"type": "close", "code": 4404}


@asynccontextmanager
async def cut_connection_after(server: ConformanceServer, *words: str) -> AsyncIterator[Json]:
    """A session with words and a ping whose connection was lost."""
    async with server.open_stream() as stream:
        status = await start_resumable(stream)
        await stream.send(build_speech(*words))
        await stream.send({"type": "ping"})
        await receive_until(stream, "pong")
    yield status


@stream_case("P11.1")
async def sessions_that_are_not_resumable_have_no_token(stream: ClientStream) -> None:
    assert not KEYS & set(await send_config(stream))
    assert await send_and_receive(stream, {"type": "ping"}) == {"type": "pong"}


@server_case("P11.1", "P11.2")
async def a_resumable_session_has_a_token_and_numbers(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        status = await start_resumable(stream)
        assert (status["resumable"], status["resume_seconds"], status["seq"]) == (True, 30.0, 1)
        assert len(str(status["resume_token"])) > 40
        assert (await send_and_receive(stream, {"type": "ping"}))["seq"] == 2
        await stream.send(build_speech("one", "two"))
        assert [frame["seq"] for frame in await send_commit(stream)] == [3, 4]
        assert await send_and_receive(stream, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.1", resume_seconds=0)
async def a_server_without_resume_says_so(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        status = await start_resumable(stream)
        assert status["resumable"] is False
        assert KEYS & set(status) == {"resumable"}
        await check_alive(stream)


@server_case("P11.3", "P11.4", "P11.5")
async def a_resumed_session_continues_where_it_was_cut(server: ConformanceServer) -> None:
    audio = build_speech(*[("one", 0.7), ("two", 0.7), ("three", 0.7), ("four", 0.7), ("five", 0.7)])
    async with server.open_stream() as stream:
        status = await start_resumable(stream)
        await stream.send(audio[:80_000])
        await stream.send(b"\0\0\0")
        await receive_until(stream, "error")
    async with server.open_stream() as stream:
        told = await send_and_receive(stream, build_resume(status))
        assert told == {
            "type": "status",
            "state": "resumed",
            "session": status["session"],
            "received_messages": 3,
            "received_samples": 20_000,
        }
        await stream.send(audio[80_000:])
        await stream.send({"type": "commit"})
        frames = await receive_until(stream, "full_transcript")
        assert check_transcript(frames) == "one two three four five"
        assert {"error", "final", "full_transcript"} == {frame["type"] for frame in frames}
        assert [frame["seq"] for frame in frames] == list(range(2, 2 + len(frames)))
        assert await send_and_receive(stream, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.3", "P11.6")
async def only_frames_that_were_not_received_are_replayed(server: ConformanceServer) -> None:
    async with cut_connection_after(server, "one", "two") as status:
        async with server.open_stream() as stream:
            assert (await send_and_receive(stream, build_resume(status)))["state"] == "resumed"
            *_, transcript = frames = await send_commit(stream)
            assert check_transcript(frames) == "one two"
        async with server.open_stream() as stream:
            assert (await send_and_receive(stream, build_resume(status, transcript["seq"])))[
                "received_messages"
            ] == 4
            assert await send_commit(stream) == [
                {"type": "full_transcript", "text": "", "seq": int(str(transcript["seq"])) + 1}
            ]
            await stream.send({"type": "stop"})
            assert await stream.receive() == {"type": "close", "code": 1000}


@server_case("P11.6")
async def resuming_closes_the_connection_that_is_still_open(server: ConformanceServer) -> None:
    async with server.open_stream() as first:
        status = await start_resumable(first)
        async with server.open_stream() as second:
            assert (await send_and_receive(second, build_resume(status)))["received_messages"] == 1
            assert await first.receive() == {"type": "close", "code": 4409}
            await first.send(build_speech("seven"))
            await second.send(build_speech("one", "two"))
            assert check_transcript(await send_commit(second)) == "one two"
            assert await send_and_receive(second, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.5", "P11.9", tier_limits=ONE_STREAM)
async def a_disconnected_session_keeps_its_slot(server: ConformanceServer) -> None:
    await server.wait_until_empty()
    async with cut_connection_after(server, "one") as status:
        async with server.open_stream() as stream:
            error = await send_and_receive(stream, {"type": "config"})
            assert error["code"] == "quota_exceeded"
        async with server.open_stream() as stream:
            assert (await send_and_receive(stream, build_resume(status)))["state"] == "resumed"
            await stream.send({"type": "stop"})
            assert check_transcript(await receive_until(stream, "full_transcript")) == "one"
            assert await stream.receive() == {"type": "close", "code": 1000}
        await server.wait_until_empty()
    async with server.open_stream() as stream:
        await check_alive(stream)


@server_case("P11.7", "P7.20")
async def an_invalid_resume_is_refused(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        await stream.send({"type": "config", "resume": "unknown.token"})
        await check_refused(stream)
    async with cut_connection_after(server, "one") as status:
        name = str(status["session"])
        for token in ("", name, f"{name}.", f"{name}.é", "é", 7, True):
            async with server.open_stream() as stream:
                await stream.send({"type": "config", "resume": token})
                await check_refused(stream)
        for received in (99, -1, "1", 1.5, True):
            async with server.open_stream() as stream:
                await stream.send(build_resume(status, received))
                await check_refused(stream)
        async with server.open_stream() as stream:
            await check_alive(stream)
            await stream.send(build_resume(status))
            await check_refused(stream)
        async with server.open_stream() as stream:
            await stream.send(build_resume(status))
            await stream.send({"type": "stop"})
            assert check_transcript((await receive_until(stream, "full_transcript"))[1:]) == "one"


@server_case("P11.7", api_key="correct horse", core_endpoint=True)
async def another_users_session_cannot_be_resumed(server: ConformanceServer) -> None:
    async with server.open_stream(headers=KEY) as stream:
        status = await start_resumable(stream)
    async with server.open_stream(CORE_PATH) as stream:
        await stream.send(build_resume(status))
        await check_refused(stream)
    async with server.open_stream() as stream:
        await stream.send(build_resume(status))
        assert (await stream.receive())["code"] == "unauthorized"
    async with server.open_stream(headers=KEY) as stream:
        assert (await send_and_receive(stream, build_resume(status)))["state"] == "resumed"
        assert await send_and_receive(stream, {"type": "stop"}) == {"type": "close", "code": 1000}


@server_case("P11.8")
async def the_end_of_a_session_can_be_resumed(server: ConformanceServer) -> None:
    async with server.open_stream() as stream:
        status = await start_resumable(stream)
        await stream.send(build_speech("one", "two"))
        await stream.send({"type": "stop"})
        await receive_until(stream, "full_transcript")
    await server.wait_until_empty()
    for _ in range(2):
        async with server.open_stream() as stream:
            assert (await send_and_receive(stream, build_resume(status)))["received_messages"] == 3
            frames = await receive_until(stream, "full_transcript")
            assert check_transcript(frames) == "one two"
            assert len(filter_finals(frames)) == 1
            assert await stream.receive() == {"type": "close", "code": 1000}


@server_case("P11.9", "P11.7", resume_seconds=0.05)
async def a_session_expires_after_resume_seconds(server: ConformanceServer) -> None:
    async with cut_connection_after(server, "one") as status:
        await server.wait_until_empty()
        async with server.open_stream() as stream:
            await stream.send(build_resume(status))
            await check_refused(stream)

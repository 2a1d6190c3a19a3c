"""Tests of an open stream, against scripted servers."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from echoic.client import ServerError, connect
from echoic.protocol.frames import Error, Final, FullTranscript, Partial, Warning  # noqa: A004  # the protocol's word
from support.fake_server import (
    CONFIGURED_FRAME,
    FakePeer,
    build_final_json,
    run_fake_server,
)

SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)


async def send_transcript(peer: FakePeer, text: str) -> None:
    await peer.send({"type": "full_transcript", "text": text})


async def test_a_stream_delivers_finals_and_the_transcript() -> None:
    received = b""

    async def play(peer: FakePeer) -> None:
        nonlocal received
        received = await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "one"))
        await send_transcript(peer, "one")
        await peer.receive_samples_until("stop")
        await send_transcript(peer, "")

    async with run_fake_server(play) as url, connect(url) as stream:
        await stream.send(SECOND)
        assert await stream.commit() == "one"
        assert await stream.stop() == ""
        frames = [frame async for frame in stream]
    assert received == SECOND.tobytes()
    assert [type(frame) for frame in frames] == [Final, FullTranscript, FullTranscript]


async def test_frames_are_typed_and_unknown_frames_are_dicts() -> None:
    unknown = {"type": "insight", "summary": ["a"], "insight_id": 1}
    partial = {
        "type": "partial",
        "text": "o",
        "is_final": False,
        "segment_id": 1,
        "segment_start": 0.0,
        "segment_end": 0.5,
        "buffer_duration": 0.5,
        "cumulative_audio": 0.0,
        "new_key": 1,
    }
    strange = {"type": "final", "text": 5}

    async def play(peer: FakePeer) -> None:
        for frame in (unknown, partial, strange, {"type": "warning", "code": "x", "message": "m"}):
            await peer.send(frame)
        await peer.send(
            {"type": "error", "code": "bad_audio", "message": "No.", "error_type": "bad_audio", "n": 3}
        )
        await peer.socket.close()

    async with run_fake_server(play) as url, connect(url) as stream:
        frames = [frame async for frame in stream]
    assert frames[0] == unknown
    assert isinstance(frames[1], Partial)
    assert frames[2] == strange
    assert isinstance(frames[3], Warning)
    assert frames[4] == Error(code="bad_audio", message="No.", detail={"n": 3})


async def test_answers_arrive_while_frames_are_unread() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("ping")
        await peer.send(build_final_json(1, "one"))
        await peer.send({"type": "pong"})
        await peer.receive_samples_until("reset")
        await peer.send({"type": "status", "state": "reset"})
        await peer.socket.close()

    async with run_fake_server(play) as url, connect(url) as stream:
        assert 0 < await stream.ping() < 5
        await stream.reset()
        assert [type(frame) for frame in [frame async for frame in stream]] == [Final]


async def test_a_cancelled_commit_does_not_take_the_next_answer() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("commit")
        await peer.receive_samples_until("commit")
        await send_transcript(peer, "first")
        await send_transcript(peer, "second")

    async with run_fake_server(play) as url, connect(url) as stream:
        cancelled = asyncio.create_task(stream.commit())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert await stream.commit() == "second"


async def test_a_closing_error_is_raised_by_every_call() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "received"))
        detail = {"quota": "daily_minutes", "limit": 30.0, "used": 30.0}
        await peer.send({"type": "error", "code": "quota_exceeded", "message": "No more today.", **detail})
        await peer.socket.close(4003)

    async with run_fake_server(play) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="No more today") as caught:
            await stream.commit()
        assert caught.value.close_code == 4003
        assert caught.value.detail["quota"] == "daily_minutes"
        assert isinstance(await anext(stream), Final)
        for _ in range(2):
            with pytest.raises(ServerError, match="No more today"):
                await anext(stream)
        with pytest.raises(ServerError, match="No more today"):
            await stream.send(SECOND)


async def test_a_lost_connection_is_an_error() -> None:
    async def play(peer: FakePeer) -> None:
        peer.socket.transport.abort()

    async with run_fake_server(play) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await stream.commit()
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)


async def test_a_message_that_is_no_json_is_an_error() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.socket.send("[1]")
        await peer.socket.wait_closed()

    async with run_fake_server(play) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="not a JSON object"):
            await anext(stream)


async def test_a_config_waits_for_the_answer_to_the_one_before() -> None:
    """A server sends a refusal before the answer to an earlier config, also to a cancelled one."""
    first_arrived = asyncio.Event()
    early: list[object] = []

    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("config")
        first_arrived.set()
        early.append(await peer.receive_message())
        lost = {"type": "error", "code": "decode_failed", "message": "Some audio was lost.", "start": 0.0}
        await peer.send(lost)
        await peer.send(CONFIGURED_FRAME | {"language": "de"})
        await peer.receive_samples_until("config")
        await peer.send({"type": "error", "code": "invalid_config", "message": "No such language."})
        await peer.receive_samples_until("config")
        await peer.send(CONFIGURED_FRAME | {"language": "fr"})

    async with run_fake_server(play) as url, connect(url) as stream:
        cancelled = asyncio.create_task(stream.configure({"language": "de"}))
        await first_arrived.wait()
        cancelled.cancel()
        refused = asyncio.create_task(stream.configure({"language": "xx"}))
        last = asyncio.create_task(stream.configure({"language": "fr"}))
        await asyncio.sleep(0)
        await stream.send(SECOND)
        with pytest.raises(ServerError, match="No such language"):
            await refused
        await last
        assert stream.configured.language == "fr"
        assert isinstance(await anext(stream), Error)
    assert early == [SECOND.tobytes()]


async def test_full_buffers_on_both_sides_do_not_deadlock() -> None:
    """The server sends more than any buffer holds before it reads, and so does the client."""
    many, long = 300, "word " * 20_000

    async def play(peer: FakePeer) -> None:
        for number in range(1, many + 1):
            await peer.send(build_final_json(number, long))
        received = await peer.receive_samples_until("stop")
        await send_transcript(peer, str(len(received)))

    async with run_fake_server(play) as url, connect(url) as stream:
        for _ in range(30):
            await stream.send(np.zeros(262_144, np.float32))
        assert await stream.stop() == str(30 * 262_144 * 4)
        frames = [frame async for frame in stream]
    assert len(frames) == many + 1


async def test_two_tasks_can_read_one_stream() -> None:
    async def play(peer: FakePeer) -> None:
        for number in range(1, 21):
            await peer.send(build_final_json(number, str(number)))
        await peer.receive_samples_until("stop")

    async with run_fake_server(play) as url, connect(url) as stream:

        async def texts() -> list[str]:
            return [frame.text async for frame in stream if isinstance(frame, Final)]

        readers = [asyncio.create_task(texts()) for _ in range(2)]
        await stream.stop()
        received = [text for reader in readers for text in await reader]
    assert sorted(received, key=int) == [str(number) for number in range(1, 21)]


async def test_calls_on_a_stopped_stream_raise() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("stop")
        await send_transcript(peer, "")

    async with run_fake_server(play) as url, connect(url) as stream:
        await stream.stop()
        for call in (stream.send(SECOND), stream.commit(), stream.stop(), stream.ping()):
            with pytest.raises(ServerError, match="has ended"):
                await call

"""Tests of lost connections: resume, replay, retry with backoff, give up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
import websockets

from echoic.client import ConnectionState, ServerError, connect, resumption
from echoic.protocol.frames import Final, FullTranscript
from support.fake_server import CONFIGURED_FRAME, FakePeer, build_final_json, serve_connections
from support.timing import WAIT_SECONDS

Script = Callable[[FakePeer], Awaitable[None]]

SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)
RESUMABLE_FRAME = CONFIGURED_FRAME | {
    "resumable": True,
    "session": "s",
    "resume_token": "s.t",
    "resume_seconds": 0.5,
    "seq": 1,
}


class ScriptedServer:
    """A server that runs one script for each connection."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.resume_configs: list[dict[str, Any]] = []
        self.sessions_left = 100

    async def __call__(self, socket: websockets.ServerConnection) -> None:
        peer = FakePeer(socket)
        config = await peer.receive_message()
        assert isinstance(config, dict)
        if "resume" in config:
            self.resume_configs.append(config)
        elif self.sessions_left:
            self.sessions_left -= 1
            await peer.send(RESUMABLE_FRAME)
        await self._scripts.pop(0)(peer)


async def lose_connection(peer: FakePeer) -> None:
    peer.socket.transport.abort()


def build_resumed_json(messages: int) -> dict[str, Any]:
    return {
        "type": "status",
        "state": "resumed",
        "session": "s",
        "received_messages": messages,
        "received_samples": 0,
    }


async def test_retries_back_off_if_resumed_connections_are_lost_at_once() -> None:
    count = 0

    async def hang_up(peer: FakePeer) -> None:
        nonlocal count
        count += 1
        if count > 1:
            await peer.send(build_resumed_json(1))
        await lose_connection(peer)

    async with serve_connections(ScriptedServer(*[hang_up] * 1000)) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="lost"):
            await stream.commit()
    assert 2 < count < 10


async def test_messages_that_did_not_arrive_are_sent_again_first() -> None:
    received: list[object] = []

    async def first(peer: FakePeer) -> None:
        received.append(await peer.receive_message())
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.receive_samples_until("ping")  # it arrives without an acknowledgement
        await lose_connection(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(build_resumed_json(2))
        await peer.send(build_final_json(2, "two") | {"seq": 3})
        while (message := await peer.receive_message()) != {"type": "stop"}:
            received.append(message)
            if message == {"type": "ping"}:
                await peer.send({"type": "pong", "seq": 4})

    server = ScriptedServer(first, second)
    async with serve_connections(server) as url, connect(url) as stream:
        await stream.send(SECOND[:10])
        assert await stream.ping() > 0
        await stream.send(SECOND[10:20])
        await stream.stop()
        frames = [frame async for frame in stream]
    assert received == [SECOND[:10].tobytes(), {"type": "ping"}, SECOND[10:20].tobytes()]
    assert server.resume_configs == [{"type": "config", "resume": "s.t", "received": 2}]
    assert [frame.text for frame in frames if isinstance(frame, Final)] == ["one", "two"]


async def test_a_ping_that_arrived_counts_as_answered() -> None:
    async def first(peer: FakePeer) -> None:
        await peer.receive_samples_until("ping")
        await lose_connection(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(build_resumed_json(2))
        await peer.receive_samples_until("stop")

    async with serve_connections(ScriptedServer(first, second)) as url, connect(url) as stream:
        assert await stream.ping() > 0
        await stream.stop()


async def refuse_resume(peer: FakePeer) -> None:
    await peer.send({"type": "error", "code": "resume_failed", "message": "It is over."})
    await peer.socket.close(4404)


async def test_a_lost_session_is_replayed_in_a_new_one() -> None:
    received: list[object] = []

    async def first(peer: FakePeer) -> None:
        assert await peer.receive_message() == SECOND.tobytes()
        await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.send({"type": "full_transcript", "text": "one", "seq": 3})
        await peer.receive_message()
        await peer.send(build_final_json(2, "two") | {"seq": 4})
        await lose_connection(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(build_final_json(1, "one") | {"seq": 2})  # delivered before
        await peer.send(build_final_json(2, "two") | {"seq": 3})
        while (message := await peer.receive_message()) != {"type": "stop"}:
            received.append(message)
            if message == {"type": "ping"}:
                await peer.send({"type": "pong", "seq": 5})
        await peer.send(build_final_json(3, "three") | {"seq": 6})
        await peer.send({"type": "full_transcript", "text": "one two three", "seq": 7})

    server = ScriptedServer(first, refuse_resume, second)
    states: list[ConnectionState] = []
    async with serve_connections(server) as url, connect(url, language="en") as stream:
        stream.on_state = states.append
        await stream.send(SECOND)
        assert await stream.commit() == "one"
        await stream.send(SECOND[:10])
        await stream.send(SECOND[10:20])
        assert await stream.stop() == "two three"
        frames = [frame async for frame in stream]
    assert states == ["lost", "back"]
    samples = [SECOND.tobytes(), SECOND[:10].tobytes(), SECOND[10:20].tobytes()]
    assert [one for one in received if one != {"type": "ping"}] == samples
    assert [frame.segment_id for frame in frames if isinstance(frame, Final)] == [1, 2, 3]
    assert [frame.text for frame in frames if isinstance(frame, FullTranscript)] == ["one", "two three"]


async def test_a_stop_ends_if_the_server_dies_before_its_close() -> None:
    async def first(peer: FakePeer) -> None:
        assert await peer.receive_message() == SECOND.tobytes()
        await peer.receive_samples_until("stop")
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.send({"type": "full_transcript", "text": "one", "seq": 3})
        await lose_connection(peer)

    async def second(peer: FakePeer) -> None:
        assert await peer.receive_message() == {"type": "stop"}

    async with serve_connections(ScriptedServer(first, refuse_resume, second)) as url, connect(url) as stream:
        await stream.send(SECOND)
        assert await stream.stop() == "one"
        assert [type(frame) for frame in [frame async for frame in stream]] == [Final, FullTranscript]


async def test_an_error_in_on_state_does_not_end_the_stream() -> None:
    async def resume(peer: FakePeer) -> None:
        await peer.send(build_resumed_json(1))
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.receive_samples_until("stop")

    def raise_error(state: ConnectionState) -> None:
        raise LookupError(state)

    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what["exception"]))
    async with serve_connections(ScriptedServer(lose_connection, resume)) as url, connect(url) as stream:
        stream.on_state = raise_error
        assert isinstance(await anext(stream), Final)
        await stream.stop()
    assert [str(failure) for failure in failures] == ["lost", "back"]


async def test_a_busy_server_is_retried_and_a_refusal_is_raised() -> None:
    def build_refusal(code: str, message: str) -> Script:
        async def refuse(peer: FakePeer) -> None:
            await peer.send({"type": "error", "code": code, "message": message})
            await peer.socket.close(4400)

        return refuse

    server = ScriptedServer(
        lose_connection,
        refuse_resume,
        build_refusal("server_busy", "Full."),
        build_refusal("model_unavailable", "No model."),
    )
    server.sessions_left = 1
    async with serve_connections(server) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="No model") as caught:
            await anext(stream)
        assert caught.value.code == "model_unavailable"
        with pytest.raises(ServerError, match="No model"):
            await stream.send(SECOND)


async def test_retries_end_after_resume_seconds() -> None:
    server = ScriptedServer(*[lose_connection] * 100)
    async with serve_connections(server) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)
    assert 2 < len(server.resume_configs) < 50


@pytest.mark.parametrize("code", [1001, 4409])
async def test_a_closed_session_is_not_resumed(code: int) -> None:
    async def close(peer: FakePeer) -> None:
        await peer.socket.close(code)

    server = ScriptedServer(close)
    async with serve_connections(server) as url, connect(url) as stream:
        with pytest.raises(ServerError) as caught:
            await anext(stream)
    assert caught.value.close_code == code
    assert server.resume_configs == []


async def test_close_does_not_wait_for_a_connection() -> None:
    never = asyncio.Event()

    async def silent(_: FakePeer) -> None:
        await never.wait()

    server = ScriptedServer(lose_connection, silent)
    async with serve_connections(server) as url:
        async with connect(url):
            async with asyncio.timeout(WAIT_SECONDS):
                while not server.resume_configs:  # noqa: ASYNC110  # until the server has read it
                    await asyncio.sleep(0.005)
        never.set()


async def test_send_waits_while_too_much_is_unacknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumption, "MAX_UNACKNOWLEDGED_BYTES", 200_000)
    go_on = asyncio.Event()

    async def slow(peer: FakePeer) -> None:
        await go_on.wait()
        while (message := await peer.receive_message()) != {"type": "stop"}:
            if message == {"type": "ping"}:
                await peer.send({"type": "pong"})

    async with serve_connections(ScriptedServer(slow)) as url, connect(url) as stream:
        sending = asyncio.create_task(stream.send(np.tile(SECOND, 20)))
        done, _ = await asyncio.wait([sending], timeout=0.1)
        assert not done
        go_on.set()
        await sending
        await stream.stop()


async def test_resumable_false_ends_the_stream_with_its_connection() -> None:
    configs: list[dict[str, Any]] = []

    async def handle(socket: websockets.ServerConnection) -> None:
        configs.append(json.loads(await socket.recv()))
        await socket.send(json.dumps(CONFIGURED_FRAME))
        socket.transport.abort()

    async with serve_connections(handle) as url, connect(url, resumable=False) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)
    assert [config["resumable"] for config in configs] == [False]

"""What the client does when its connection is lost, against servers that a test plays."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from echoic.client import ServerError, connect
from echoic.client import resumption as threads
from echoic.protocol.frames import Final, FullTranscript
from support.fake_server import CONFIGURED_FRAME, FakePeer, build_final_json, serve_connections
from support.patience import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import websockets

    from echoic.client import ConnectionState

    Part = Callable[[FakePeer], Awaitable[None]]

SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)
GRANTED = CONFIGURED_FRAME | {
    "resumable": True,
    "session": "s",
    "resume_token": "s.t",
    "resume_seconds": 0.5,
    "seq": 1,
}


class Parts:
    """A server whose connections are played by one part after the other."""

    def __init__(self, *parts: Part) -> None:
        self._parts = list(parts)
        self.wishes: list[dict[str, Any]] = []
        self.grants = 100

    async def __call__(self, socket: websockets.ServerConnection) -> None:
        peer = FakePeer(socket)
        config = await peer.receive_message()
        assert isinstance(config, dict)
        if "resume" in config:
            self.wishes.append(config)
        elif self.grants:
            self.grants -= 1
            await peer.send(GRANTED)
        await self._parts.pop(0)(peer)


async def lost(peer: FakePeer) -> None:
    peer.socket.transport.abort()


def resumed(messages: int) -> dict[str, Any]:
    return {
        "type": "status",
        "state": "resumed",
        "session": "s",
        "received_messages": messages,
        "received_samples": 0,
    }


async def test_a_server_that_takes_it_up_and_hangs_up_at_once_is_tried_ever_more_rarely() -> None:
    count = 0

    async def hangs_up(peer: FakePeer) -> None:
        nonlocal count
        count += 1
        if count > 1:
            await peer.send(resumed(1))
        await lost(peer)

    async with serve_connections(Parts(*[hangs_up] * 1000)) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="lost"):
            await stream.commit()
    assert 2 < count < 10


async def test_what_had_not_arrived_is_sent_again_before_what_is_new() -> None:
    heard: list[object] = []

    async def first(peer: FakePeer) -> None:
        heard.append(await peer.receive_message())
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.receive_samples_until("ping")  # it arrived, but is not counted
        await lost(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(resumed(2))
        await peer.send(build_final_json(2, "two") | {"seq": 3})
        while (message := await peer.receive_message()) != {"type": "stop"}:
            heard.append(message)
            if message == {"type": "ping"}:
                await peer.send({"type": "pong", "seq": 4})

    parts = Parts(first, second)
    async with serve_connections(parts) as url, connect(url) as stream:
        await stream.send(SECOND[:10])
        assert await stream.ping() > 0
        await stream.send(SECOND[10:20])
        await stream.stop()
        frames = [frame async for frame in stream]
    assert heard == [SECOND[:10].tobytes(), {"type": "ping"}, SECOND[10:20].tobytes()]
    assert parts.wishes == [{"type": "config", "resume": "s.t", "received": 2}]
    assert [frame.text for frame in frames if isinstance(frame, Final)] == ["one", "two"]


async def test_a_ping_that_arrived_is_not_asked_again() -> None:
    async def first(peer: FakePeer) -> None:
        await peer.receive_samples_until("ping")
        await lost(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(resumed(2))
        await peer.receive_samples_until("stop")

    async with serve_connections(Parts(first, second)) as url, connect(url) as stream:
        assert await stream.ping() > 0
        await stream.stop()


async def gone(peer: FakePeer) -> None:
    await peer.send({"type": "error", "code": "resume_failed", "message": "It is over."})
    await peer.socket.close(4404)


async def test_a_server_that_knows_the_session_no_more_is_told_everything_again() -> None:
    heard: list[object] = []

    async def first(peer: FakePeer) -> None:
        assert await peer.receive_message() == SECOND.tobytes()
        await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.send({"type": "full_transcript", "text": "one", "seq": 3})
        await peer.receive_message()
        await peer.send(build_final_json(2, "two") | {"seq": 4})
        await lost(peer)

    async def second(peer: FakePeer) -> None:
        await peer.send(build_final_json(1, "one") | {"seq": 2})  # said before
        await peer.send({"type": "full_transcript", "text": "one", "seq": 3})
        await peer.send(build_final_json(2, "two") | {"seq": 4})
        while (message := await peer.receive_message()) != {"type": "stop"}:
            heard.append(message)
            if message == {"type": "ping"}:
                await peer.send({"type": "pong", "seq": 5})
        await peer.send(build_final_json(3, "three") | {"seq": 6})
        await peer.send({"type": "full_transcript", "text": "two three", "seq": 7})

    parts = Parts(first, gone, second)
    states: list[ConnectionState] = []
    async with serve_connections(parts) as url, connect(url, language="en") as stream:
        stream.on_state = states.append
        await stream.send(SECOND)
        assert await stream.commit() == "one"
        await stream.send(SECOND[:10])
        await stream.send(SECOND[10:20])
        assert await stream.stop() == "two three"
        frames = [frame async for frame in stream]
    assert states == ["lost", "back"]
    samples = [SECOND.tobytes(), {"type": "commit"}, SECOND[:10].tobytes(), SECOND[10:20].tobytes()]
    assert [one for one in heard if one != {"type": "ping"}] == samples
    assert [frame.segment_id for frame in frames if isinstance(frame, Final)] == [1, 2, 3]
    assert [frame.text for frame in frames if isinstance(frame, FullTranscript)] == ["one", "two three"]


async def test_a_stop_ends_also_if_the_server_dies_between_its_transcript_and_its_close() -> None:
    async def first(peer: FakePeer) -> None:
        await stopped(peer)
        await lost(peer)

    async def stopped(peer: FakePeer) -> None:
        assert await peer.receive_message() == SECOND.tobytes()
        await peer.receive_samples_until("stop")
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.send({"type": "full_transcript", "text": "one", "seq": 3})

    async with serve_connections(Parts(first, gone, stopped)) as url, connect(url) as stream:
        await stream.send(SECOND)
        assert await stream.stop() == "one"
        assert [type(frame) for frame in [frame async for frame in stream]] == [Final, FullTranscript]


async def test_whoever_is_told_of_the_connection_and_fails_costs_the_stream_nothing() -> None:
    async def goes_on(peer: FakePeer) -> None:
        await peer.send(resumed(1))
        await peer.send(build_final_json(1, "one") | {"seq": 2})
        await peer.receive_samples_until("stop")

    def fail(state: ConnectionState) -> None:
        raise LookupError(state)

    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what["exception"]))
    async with serve_connections(Parts(lost, goes_on)) as url, connect(url) as stream:
        stream.on_state = fail
        assert isinstance(await anext(stream), Final)
        await stream.stop()
    assert [str(failure) for failure in failures] == ["lost", "back"]


async def test_a_server_without_room_is_asked_again_and_one_that_refuses_gives_its_reason() -> None:
    def refusing(code: str, message: str) -> Part:
        async def refuse(peer: FakePeer) -> None:
            await peer.send({"type": "error", "code": code, "message": message})
            await peer.socket.close(4400)

        return refuse

    parts = Parts(lost, gone, refusing("server_busy", "Full."), refusing("model_unavailable", "No model."))
    parts.grants = 1
    async with serve_connections(parts) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="No model") as caught:
            await anext(stream)
        assert caught.value.code == "model_unavailable"
        with pytest.raises(ServerError, match="No model"):
            await stream.send(SECOND)


async def test_after_its_time_the_client_gives_up() -> None:
    parts = Parts(*[lost] * 100)
    async with serve_connections(parts) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)
    assert 2 < len(parts.wishes) < 50


@pytest.mark.parametrize("code", [1001, 4409])
async def test_a_session_that_was_closed_is_not_taken_up(code: int) -> None:
    async def close(peer: FakePeer) -> None:
        await peer.socket.close(code)

    parts = Parts(close)
    async with serve_connections(parts) as url, connect(url) as stream:
        with pytest.raises(ServerError) as caught:
            await anext(stream)
    assert caught.value.close_code == code
    assert parts.wishes == []


async def test_closing_does_not_wait_for_a_connection() -> None:
    never = asyncio.Event()

    async def silent(_: FakePeer) -> None:
        await never.wait()

    parts = Parts(lost, silent)
    async with serve_connections(parts) as url:
        async with connect(url):
            async with asyncio.timeout(WAIT_SECONDS):
                while not parts.wishes:  # noqa: ASYNC110  # the server's side of it
                    await asyncio.sleep(0.005)
        never.set()


async def test_what_is_kept_is_bounded_and_sending_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_UNACKNOWLEDGED_BYTES", 200_000)
    go_on = asyncio.Event()

    async def slow(peer: FakePeer) -> None:
        await go_on.wait()
        while (message := await peer.receive_message()) != {"type": "stop"}:
            if message == {"type": "ping"}:
                await peer.send({"type": "pong"})

    async with serve_connections(Parts(slow)) as url, connect(url) as stream:
        sending = asyncio.create_task(stream.send(np.tile(SECOND, 20)))
        done, _ = await asyncio.wait([sending], timeout=0.1)
        assert not done
        go_on.set()
        await sending
        await stream.stop()


async def test_who_forbids_it_gets_a_stream_that_ends_with_its_connection() -> None:
    configs: list[dict[str, Any]] = []

    async def handle(socket: websockets.ServerConnection) -> None:
        configs.append(json.loads(await socket.recv()))
        await socket.send(json.dumps(CONFIGURED_FRAME))
        socket.transport.abort()

    async with serve_connections(handle) as url, connect(url, resumable=False) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)
    assert [config["resumable"] for config in configs] == [False]

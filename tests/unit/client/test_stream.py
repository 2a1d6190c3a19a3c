from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from echoic.client import ServerError, connect, connector, transcribe
from echoic.protocol.frames import Error, Final, FullTranscript, Partial, Warning  # noqa: A004  # the protocol's word
from support.fake_server import (
    CONFIGURED_FRAME,
    FakePeer,
    build_final_json,
    refuse_handshakes,
    run_fake_server,
    serve_connections,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import websockets
    from numpy.typing import NDArray

SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)


async def commit(peer: FakePeer, text: str) -> None:
    await peer.send({"type": "full_transcript", "text": text})


async def test_a_stream_brings_finals_and_the_transcript() -> None:
    heard = b""

    async def play(peer: FakePeer) -> None:
        nonlocal heard
        heard = await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "one"))
        await commit(peer, "one")
        await peer.receive_samples_until("stop")
        await commit(peer, "")

    async with run_fake_server(play) as url, connect(url) as stream:
        await stream.send(SECOND)
        assert await stream.commit() == "one"
        assert await stream.stop() == ""
        frames = [frame async for frame in stream]
    assert heard == SECOND.tobytes()
    assert [type(frame) for frame in frames] == [Final, FullTranscript, FullTranscript]


async def test_the_config_is_the_first_frame_and_its_answer_is_kept() -> None:
    config: dict[str, object] = {}

    async def play(peer: FakePeer) -> None:
        config.update(peer.config)
        await peer.receive_samples_until("stop")

    async with run_fake_server(play) as url, connect(url, sample_rate=16_000, language="en") as stream:
        assert stream.configured.active_model == "moonshine-tiny-en"
        await stream.stop()
    assert config == {"type": "config", "resumable": True, "sample_rate": 16_000, "language": "en"}


async def test_the_key_goes_into_a_header_and_into_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    headers: dict[str, str] = {}

    async def play(peer: FakePeer) -> None:
        headers.update(peer.headers)
        await peer.receive_samples_until("stop")

    async with run_fake_server(play) as url, connect(url, key="s3cret") as stream:
        assert "s3cret" not in repr(vars(stream))
        await stream.stop()
    assert headers["Authorization"] == "Bearer s3cret"
    client = [record.getMessage() for record in caplog.records if record.name.startswith("echoic")]
    assert "s3cret" not in "".join(client)


async def test_frames_are_typed_and_unknown_ones_come_as_they_are() -> None:
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


async def test_pings_and_resets_are_answered_while_the_rest_waits_to_be_read() -> None:
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


async def test_a_commit_that_was_given_up_takes_nobody_elses_answer() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("commit")
        await peer.receive_samples_until("commit")
        await commit(peer, "first")
        await commit(peer, "second")

    async with run_fake_server(play) as url, connect(url) as stream:
        given_up = asyncio.create_task(stream.commit())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert await stream.commit() == "second"


async def test_an_error_that_closes_is_raised_by_whatever_is_waiting() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("commit")
        await peer.send(build_final_json(1, "heard"))
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


async def test_a_connection_that_breaks_is_an_error() -> None:
    async def play(peer: FakePeer) -> None:
        peer.socket.transport.abort()

    async with run_fake_server(play) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="was lost"):
            await stream.commit()
        with pytest.raises(ServerError, match="was lost"):
            await anext(stream)


async def test_a_server_that_sends_no_json_is_an_error() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.socket.send("[1]")
        await peer.socket.wait_closed()

    async with run_fake_server(play) as url, connect(url) as stream:
        with pytest.raises(ServerError, match="not a JSON object"):
            await anext(stream)


async def test_a_config_that_the_server_cannot_take_raises() -> None:
    async def handle(socket: websockets.ServerConnection) -> None:
        await socket.recv()
        message = {
            "type": "error",
            "code": "invalid_config",
            "message": "No such rate.",
            "field": "sample_rate",
        }
        await socket.send(json.dumps(message))
        await socket.wait_closed()

    async with serve_connections(handle) as url:
        with pytest.raises(ServerError, match="No such rate") as caught:
            async with connect(url, sample_rate=1):
                pass
    assert caught.value.detail == {"field": "sample_rate"}


async def test_a_config_waits_until_the_one_before_is_answered_also_if_that_was_given_up() -> None:
    """A server answers what is wrong with a config before it answers an earlier one."""
    given_up_now = asyncio.Event()
    early: list[object] = []

    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("config")
        given_up_now.set()
        early.append(await peer.receive_message())
        lost = {"type": "error", "code": "decode_failed", "message": "Some audio was lost.", "start": 0.0}
        await peer.send(lost)
        await peer.send(CONFIGURED_FRAME | {"language": "de"})
        await peer.receive_samples_until("config")
        await peer.send({"type": "error", "code": "invalid_config", "message": "No such language."})
        await peer.receive_samples_until("config")
        await peer.send(CONFIGURED_FRAME | {"language": "fr"})

    async with run_fake_server(play) as url, connect(url) as stream:
        given_up = asyncio.create_task(stream.configure({"language": "de"}))
        await given_up_now.wait()
        given_up.cancel()
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


async def test_warnings_before_the_config_is_in_force_are_not_lost() -> None:
    async def handle(socket: websockets.ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"type": "warning", "code": "model_fallback", "message": "Another."}))
        await socket.send(json.dumps(CONFIGURED_FRAME))
        await socket.wait_closed()

    async with serve_connections(handle) as url, connect(url) as stream:
        frame = await anext(stream)
    assert isinstance(frame, Warning)
    assert frame.code == "model_fallback"


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_an_address_without_a_path_means_the_unified_endpoint(scheme: str) -> None:
    paths: list[str] = []

    async def play(peer: FakePeer) -> None:
        paths.append(peer.socket.request.path if peer.socket.request else "")
        await peer.receive_samples_until("stop")

    async with run_fake_server(play) as url:
        host = url.split("/")[2]
        async with connect(f"{scheme}://{host}") as stream:
            await stream.stop()
    assert paths == ["/api/v1/audio/stream/transcribe"]


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (HTTPStatus.UNAUTHORIZED, "unauthorized", "asks for a valid key"),
        (HTTPStatus.NOT_FOUND, "unreachable", "There is no stream endpoint at"),
        (HTTPStatus.FORBIDDEN, "unreachable", "there may be no stream endpoint there"),
        (HTTPStatus.BAD_GATEWAY, "unreachable", "not as an echoic server does"),
        (HTTPStatus.BAD_REQUEST, "unreachable", "Perhaps it wants wss://"),
    ],
)
async def test_a_refused_handshake_is_told_as_what_it_is(
    status: HTTPStatus, code: str, sentence: str
) -> None:
    async with refuse_handshakes(status) as url:
        with pytest.raises(ServerError, match=sentence) as caught:
            async with connect(url):
                pass
    assert caught.value.code == code


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/x?token=s3cret", "http//:x?token=s3cret", "ws://[x?token=s3cret"]
)
async def test_no_server_is_a_sentence_without_the_key(url: str) -> None:
    with pytest.raises(ServerError) as caught:
        async with connect(url):
            pass
    assert caught.value.code == "unreachable"
    assert "s3cret" not in str(caught.value)


async def test_reading_goes_on_while_sending_so_neither_side_waits_for_the_other() -> None:
    """The server sends more than any buffer holds before it reads on, and so does the client."""
    many, long = 300, "word " * 20_000

    async def play(peer: FakePeer) -> None:
        for number in range(1, many + 1):
            await peer.send(build_final_json(number, long))
        heard = await peer.receive_samples_until("stop")
        await commit(peer, str(len(heard)))

    async with run_fake_server(play) as url, connect(url) as stream:
        for _ in range(30):
            await stream.send(np.zeros(262_144, np.float32))
        assert await stream.stop() == str(30 * 262_144 * 4)
        frames = [frame async for frame in stream]
    assert len(frames) == many + 1


async def test_two_tasks_may_read_one_stream() -> None:
    async def play(peer: FakePeer) -> None:
        for number in range(1, 21):
            await peer.send(build_final_json(number, str(number)))
        await peer.receive_samples_until("stop")

    async with run_fake_server(play) as url, connect(url) as stream:

        async def texts() -> list[str]:
            return [frame.text async for frame in stream if isinstance(frame, Final)]

        readers = [asyncio.create_task(texts()) for _ in range(2)]
        await stream.stop()
        heard = [text for reader in readers for text in await reader]
    assert sorted(heard, key=int) == [str(number) for number in range(1, 21)]


async def test_transcribe_sends_everything_and_returns_the_finals() -> None:
    async def play(peer: FakePeer) -> None:
        heard = await peer.receive_samples_until("stop")
        for number in range(1, len(heard) // 64_000 + 1):
            await peer.send(build_final_json(number, f"word{number}"))
        await commit(peer, "")

    async def slowly() -> AsyncIterator[NDArray[np.float32]]:
        yield SECOND
        yield SECOND

    async with run_fake_server(play) as url:
        finals = await transcribe(url, [SECOND] * 3)
        assert [one.text for one in finals] == ["word1", "word2", "word3"]
        assert len(await transcribe(url, slowly())) == 2
        assert len(await transcribe(url, np.zeros((32_000, 2)))) == 2


async def test_the_sample_format_is_not_the_callers_to_choose() -> None:
    with pytest.raises(ValueError, match="audio_format, channels"):
        async with connect("ws://127.0.0.1:1/", audio_format="s16le", channels=2):
            pass


def busy(
    *refusals: dict[str, object],
) -> tuple[list[float], Callable[[websockets.ServerConnection], Awaitable[None]]]:
    """Play a server that refuses as often as there are refusals, and then serves; note when it was asked."""
    asked: list[float] = []

    async def handle(socket: websockets.ServerConnection) -> None:
        peer = FakePeer(socket)
        asked.append(asyncio.get_running_loop().time())
        if len(asked) <= len(refusals):
            await peer.send({"type": "error", "message": "Full.", **refusals[len(asked) - 1]})
            await socket.close(1013)
            return
        await peer.accept_config()
        await socket.wait_closed()

    return asked, handle


async def test_a_busy_server_is_asked_again_as_often_as_it_advises() -> None:
    asked, handle = busy(*[{"code": "server_busy", "retry_after": 0.05}] * 2)
    async with serve_connections(handle) as url, connect(url, patience=20) as stream:
        assert stream.configured.model == "parakeet"
    assert len(asked) == 3
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(asked))


async def test_whoever_is_patient_waits_for_a_stream_of_the_same_key_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector, "_STREAM_LIMIT_PAUSE", 0.01)
    asked, handle = busy({"code": "quota_exceeded", "quota": "concurrent_streams", "limit": 1, "used": 1})
    async with serve_connections(handle) as url, connect(url, patience=20) as stream:
        assert stream.configured.model == "parakeet"
    assert len(asked) == 2


@pytest.mark.parametrize("key", ["secret\nX-Other: yes", "sec\x00ret"])
async def test_a_key_that_no_header_can_hold_is_told_without_it(key: str) -> None:
    with pytest.raises(ValueError, match="character that no key has") as caught:
        async with connect("ws://127.0.0.1:1/", key=key):
            pass
    assert "sec" not in str(caught.value)


async def test_what_is_asked_of_a_stream_that_was_stopped_is_told_that_it_has_ended() -> None:
    async def play(peer: FakePeer) -> None:
        await peer.receive_samples_until("stop")
        await commit(peer, "")

    async with run_fake_server(play) as url, connect(url) as stream:
        await stream.stop()
        for call in (stream.send(SECOND), stream.commit(), stream.stop(), stream.ping()):
            with pytest.raises(ServerError, match="has ended"):
                await call


@pytest.mark.parametrize(
    ("refusal", "patience"),
    [
        ({"code": "quota_exceeded", "quota": "concurrent_streams"}, 0.0),
        ({"code": "quota_exceeded", "quota": "daily_minutes"}, 60.0),
        ({"code": "server_busy", "retry_after": 5.0}, 0.0),
        ({"code": "server_busy", "retry_after": 5.0}, 4.0),
        ({"code": "server_busy"}, 60.0),
        ({"code": "unauthorized"}, 60.0),
    ],
)
async def test_a_refusal_that_waiting_does_not_mend_is_told_at_once(
    refusal: dict[str, object], patience: float
) -> None:
    asked, handle = busy(refusal)
    async with serve_connections(handle) as url:
        with pytest.raises(ServerError) as caught:
            async with connect(url, patience=patience):
                pass
    assert (caught.value.code, caught.value.close_code) == (refusal["code"], 1013)
    assert caught.value.detail.get("retry_after") == refusal.get("retry_after")
    assert len(asked) == 1

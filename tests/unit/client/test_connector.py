"""Tests of opening streams: authentication, refusals, retry, transcribe."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from itertools import pairwise

import numpy as np
import pytest
import websockets
from numpy.typing import NDArray

from echoic.client import ServerError, connect, connector, transcribe
from echoic.protocol.frames import Warning  # noqa: A004  # the protocol's word
from support.fake_server import (
    CONFIGURED_FRAME,
    FakePeer,
    build_final_json,
    refuse_handshakes,
    run_fake_server,
    serve_connections,
)

SECOND = np.linspace(-1, 1, 16_000, dtype=np.float32)


async def send_transcript(peer: FakePeer, text: str) -> None:
    await peer.send({"type": "full_transcript", "text": text})


async def test_the_config_is_sent_first_and_its_answer_is_kept() -> None:
    config: dict[str, object] = {}

    async def play(peer: FakePeer) -> None:
        config.update(peer.config)
        await peer.receive_samples_until("stop")

    async with (
        run_fake_server(play) as url,
        connect(url, sample_rate=16_000, language="en") as stream,
    ):
        assert stream.configured.active_model == "moonshine-tiny-en"
        await stream.stop()
    assert config == {"type": "config", "resumable": True, "sample_rate": 16_000, "language": "en"}


async def test_the_key_is_sent_in_a_header_and_never_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
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


async def test_a_refused_config_raises() -> None:
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


async def test_warnings_before_the_first_answer_are_kept() -> None:
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
async def test_the_default_path_is_the_unified_endpoint(scheme: str) -> None:
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
        (HTTPStatus.BAD_GATEWAY, "unreachable", "not like an echoic server"),
        (HTTPStatus.BAD_REQUEST, "unreachable", "Try wss://"),
    ],
)
async def test_a_refused_handshake_is_explained(status: HTTPStatus, code: str, sentence: str) -> None:
    async with refuse_handshakes(status) as url:
        with pytest.raises(ServerError, match=sentence) as caught:
            async with connect(url):
                pass
    assert caught.value.code == code


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/x?token=s3cret", "http//:x?token=s3cret", "ws://[x?token=s3cret"]
)
async def test_an_unreachable_server_is_named_without_the_key(url: str) -> None:
    with pytest.raises(ServerError) as caught:
        async with connect(url):
            pass
    assert caught.value.code == "unreachable"
    assert "s3cret" not in str(caught.value)


async def test_transcribe_sends_all_audio_and_returns_finals() -> None:
    async def play(peer: FakePeer) -> None:
        received = await peer.receive_samples_until("stop")
        for number in range(1, len(received) // 64_000 + 1):
            await peer.send(build_final_json(number, f"word{number}"))
        await send_transcript(peer, "")

    async def slowly() -> AsyncIterator[NDArray[np.float32]]:
        yield SECOND
        yield SECOND

    async with run_fake_server(play) as url:
        finals = await transcribe(url, [SECOND] * 3)
        assert [one.text for one in finals] == ["word1", "word2", "word3"]
        assert len(await transcribe(url, slowly())) == 2
        assert len(await transcribe(url, np.zeros((32_000, 2)))) == 2


async def test_the_sample_format_cannot_be_chosen() -> None:
    with pytest.raises(ValueError, match="audio_format, channels"):
        async with connect("ws://127.0.0.1:1/", audio_format="s16le", channels=2):
            pass


def build_busy_server(
    *refusals: dict[str, object],
) -> tuple[list[float], Callable[[websockets.ServerConnection], Awaitable[None]]]:
    """Return the times of connections to a server that sends refusals first, and its handler."""
    attempts: list[float] = []

    async def handle(socket: websockets.ServerConnection) -> None:
        peer = FakePeer(socket)
        attempts.append(asyncio.get_running_loop().time())
        if len(attempts) <= len(refusals):
            await peer.send({"type": "error", "message": "Full.", **refusals[len(attempts) - 1]})
            await socket.close(1013)
            return
        await peer.accept_config()
        await socket.wait_closed()

    return attempts, handle


async def test_a_busy_server_is_retried_as_often_as_it_advises() -> None:
    attempts, handle = build_busy_server(*[{"code": "server_busy", "retry_after": 0.05}] * 2)
    async with serve_connections(handle) as url, connect(url, retry_seconds=20) as stream:
        assert stream.configured.model == "parakeet"
    assert len(attempts) == 3
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(attempts))


async def test_retrying_waits_for_another_stream_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector, "_STREAM_LIMIT_PAUSE", 0.01)
    attempts, handle = build_busy_server(
        {"code": "quota_exceeded", "quota": "concurrent_streams", "limit": 1, "used": 1}
    )
    async with serve_connections(handle) as url, connect(url, retry_seconds=20) as stream:
        assert stream.configured.model == "parakeet"
    assert len(attempts) == 2


@pytest.mark.parametrize("key", ["secret\nX-Other: yes", "sec\x00ret"])
async def test_a_key_with_control_characters_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="control character") as caught:
        async with connect("ws://127.0.0.1:1/", key=key):
            pass
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("refusal", "retry_seconds"),
    [
        ({"code": "quota_exceeded", "quota": "concurrent_streams"}, 0.0),
        ({"code": "quota_exceeded", "quota": "daily_minutes"}, 60.0),
        ({"code": "server_busy", "retry_after": 5.0}, 0.0),
        ({"code": "server_busy", "retry_after": 5.0}, 4.0),
        ({"code": "server_busy"}, 60.0),
        ({"code": "unauthorized"}, 60.0),
    ],
)
async def test_a_refusal_that_a_retry_cannot_help_is_raised(
    refusal: dict[str, object], retry_seconds: float
) -> None:
    attempts, handle = build_busy_server(refusal)
    async with serve_connections(handle) as url:
        with pytest.raises(ServerError) as caught:
            async with connect(url, retry_seconds=retry_seconds):
                pass
    assert (caught.value.code, caught.value.close_code) == (refusal["code"], 1013)
    assert caught.value.detail.get("retry_after") == refusal.get("retry_after")
    assert len(attempts) == 1

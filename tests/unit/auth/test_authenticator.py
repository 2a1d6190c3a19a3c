from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.auth.authenticator import Authenticator, extract_credential
from echoic.auth.backends import SingleKeyBackend
from echoic.auth.identity import Scope
from echoic.auth.keys import compute_digest, parse_key_digest
from echoic.auth.tokens import JwtBackend
from echoic.errors import AccessRefused
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from fastapi import FastAPI

    from support.in_memory_app import StartApp

KEY = "the-right-key"
AUTHENTICATED = {"type": "status", "state": "authenticated"}


@pytest.fixture
async def app(start_app: StartApp) -> FastAPI:
    return await start_app(api_key=KEY)


async def receives_refusal(socket: MemorySocket) -> bool:
    error, close = await socket.receive_frame(), await socket.receive_frame()
    assert error["type"] == "error"
    assert error["code"] == error["error_type"] == "unauthorized"
    return close == {"type": "close", "code": 4401}


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": f"Bearer {KEY}"}, ""),
        ({"authorization": f"bearer  {KEY}"}, "token=wrong"),
        ({"x-api-key": KEY}, ""),
        ({"x-api-key": KEY, "authorization": "Basic abc"}, "token=wrong"),
        ({}, f"a=b&token={KEY}"),
    ],
)
async def test_a_key_in_a_header_or_the_query_is_accepted(
    app: FastAPI, headers: dict[str, str], query: str
) -> None:
    async with MemorySocket(app, headers=headers, query=query) as socket:
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": "Bearer wrong", "x-api-key": KEY}, f"token={KEY}"),
        ({"authorization": "Bearer "}, ""),
        ({"x-api-key": KEY + "x"}, f"token={KEY}"),
        ({}, "token="),
        ({}, f"token={KEY[:-1]}"),
    ],
)
async def test_only_the_first_credential_counts(app: FastAPI, headers: dict[str, str], query: str) -> None:
    async with MemorySocket(app, headers=headers, query=query) as socket:
        assert await receives_refusal(socket)


async def test_the_first_message_may_contain_the_key(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send({"type": "auth", "token": KEY})
        assert await socket.receive_frame() == AUTHENTICATED
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == {"type": "pong"}


@pytest.mark.parametrize(
    "first",
    [
        '{"type":"auth","token":"wrong"}',
        '{"type":"auth"}',
        '{"type":"ping"}',
        '{"type":"config"}',
        "not json",
    ],
)
async def test_another_first_message_is_refused(app: FastAPI, first: str) -> None:
    async with MemorySocket(app) as socket:
        socket.send_text(first)
        assert await receives_refusal(socket)


async def test_audio_as_the_first_message_is_refused(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.send(bytes(64))
        assert await receives_refusal(socket)


async def test_no_first_message_in_time_is_refused(start_app: StartApp) -> None:
    app = await start_app(api_key=KEY, auth_timeout_seconds=0.02)
    async with MemorySocket(app) as socket:
        assert await receives_refusal(socket)


async def test_a_key_in_the_query_may_be_disallowed(start_app: StartApp) -> None:
    app = await start_app(api_key=KEY, allow_query_token=False)
    async with MemorySocket(app, query=f"token={KEY}") as socket:
        socket.send({"type": "ping"})
        assert await receives_refusal(socket)


async def test_a_disconnect_before_the_key_leaves_no_task_behind(app: FastAPI) -> None:
    async with MemorySocket(app) as socket:
        socket.disconnect()
        await socket.wait_until_ended()
    assert len(app.state.context.services.streams) == 0
    assert len(asyncio.all_tasks()) == 2  # this one, and the one that renews leases


async def test_without_authentication_auth_is_answered(start_app: StartApp) -> None:
    app = await start_app()
    async with MemorySocket(app, headers={"x-api-key": "any"}, query="token=YOUR_API_KEY") as socket:
        socket.send({"type": "auth", "token": "whatever"})
        assert await socket.receive_frame() == AUTHENTICATED


def test_a_request_without_a_credential_has_none() -> None:
    assert extract_credential([(b"authorization", b"Basic x")], b"tokens=1", allow_query_token=True) is None
    assert extract_credential([], b"token=k", allow_query_token=False) is None


def test_a_digest_in_the_settings_is_not_hashed_again() -> None:
    assert parse_key_digest(f"sha256:{parse_key_digest(KEY).hex()}") == parse_key_digest(KEY)


@given(
    st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"host", b"origin"]), st.binary())),
    st.binary(),
)
async def test_any_request_is_authenticated_or_refused(
    headers: list[tuple[bytes, bytes]], query: bytes
) -> None:
    authenticator = Authenticator((SingleKeyBackend(compute_digest(KEY)), JwtBackend("HS256", b"k" * 32)))
    with suppress(AccessRefused):
        authenticator.check_origin(headers)
    with suppress(AccessRefused):
        scope = {"headers": headers, "query_string": query}
        assert await authenticator.authenticate_request(scope, Scope.STREAM, None) is None


@given(st.text() | st.binary())
async def test_any_other_first_message_is_refused(message: str | bytes) -> None:
    async def receive() -> str | bytes:
        return message

    with pytest.raises(AccessRefused):
        await Authenticator((SingleKeyBackend(compute_digest(KEY)),)).authenticate_first_message(receive)


async def test_too_many_pending_connections_need_the_key_in_the_request() -> None:
    authenticator = Authenticator(
        (SingleKeyBackend(compute_digest(KEY)),), pending_connections=asyncio.Semaphore(2)
    )
    arrived = asyncio.Event()

    async def receive_later() -> str:
        await arrived.wait()
        return json.dumps({"type": "auth", "token": KEY})

    waiting = [asyncio.create_task(authenticator.authenticate_first_message(receive_later)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(AccessRefused) as raised:
        await authenticator.authenticate_first_message(receive_later)
    assert (raised.value.code, raised.value.detail) == ("server_busy", {"retry_after": 5})
    scope = {"headers": [(b"x-api-key", KEY.encode())], "query_string": b""}
    assert await authenticator.authenticate_request(scope, Scope.STREAM, None)
    arrived.set()
    assert [one.user for one in await asyncio.gather(*waiting)] == ["default"] * 2
    assert await authenticator.authenticate_first_message(receive_later)

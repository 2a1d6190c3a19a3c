from __future__ import annotations

import io
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest

from echoic.auth.identity import Scope
from echoic.auth.key_database import KeyDatabase
from echoic.auth.key_store import KeyStoreUnavailable
from echoic.auth.keys import generate_key
from echoic.engines.scripted import draw_words
from echoic.observability.logging import build_log_formatter
from echoic.protocol.constants import STREAM_PATH
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from echoic.server.settings.load import SettingsError, load_settings
from support.builders import make_key_in
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from support.in_memory_app import StartApp

CORE = "/core/parakeet/stream"
LIMITS = "/api/v1/audio/stream/limits"
JWT_SECRET = "a shared secret of enough bytes for HS256"  # noqa: S105  # a test
PONG = {"type": "pong"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """The server's log at every level."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(build_log_formatter(as_json=False))
    logger = logging.getLogger()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.setLevel(before)
    logger.removeHandler(handler)


def token(**more: object) -> str:
    return jwt.encode({"sub": "ben", "exp": time.time() + 60, "tier": "free"} | more, JWT_SECRET, "HS256")


async def expect_refusal(
    app: FastAPI, code: str, close: int, path: str = STREAM_PATH, **credential: object
) -> str:
    """Return the sentence that a stream is expect_refusal with."""
    headers, query = credential.get("headers"), credential.get("query", "")
    assert headers is None or isinstance(headers, dict)
    async with MemorySocket(app, path, headers=headers, query=str(query)) as socket:
        error = await socket.receive_frame()
        assert (error["type"], error["code"]) == ("error", code)
        assert await socket.receive_frame() == {"type": "close", "code": close}
    return str(error["message"])


async def expect_stream(app: FastAPI, path: str = STREAM_PATH, **headers: str) -> None:
    async with MemorySocket(
        app, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    ) as socket:
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == PONG


async def get_limits(app: FastAPI, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        return await client.get(LIMITS, headers={name.replace("_", "-"): v for name, v in headers.items()})


async def test_a_stored_key_is_accepted_in_all_four_places(start_app: StartApp, file: Path) -> None:
    key = (await make_key_in(file)).text
    app = await start_app(keys_db=str(file))
    await expect_stream(app, authorization=f"Bearer {key}")
    await expect_stream(app, x_api_key=key)
    async with MemorySocket(app, query=f"token={key}") as socket:
        socket.send({"type": "ping"})
        assert await socket.receive_frame() == PONG
    async with MemorySocket(app) as socket:
        socket.send({"type": "auth", "token": key})
        assert await socket.receive_frame() == {"type": "status", "state": "authenticated"}
        socket.send({"type": "auth", "token": "another, later"})  # accepted and ignored
        assert await socket.receive_frame() == {"type": "status", "state": "authenticated"}


async def test_an_empty_key_store_refuses_everyone(start_app: StartApp, file: Path) -> None:
    app = await start_app(keys_db=str(file))
    await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": "any"})
    assert (await get_limits(app)).status_code == 401


async def test_each_key_has_the_tier_of_its_user(start_app: StartApp, file: Path) -> None:
    anna, ben = await make_key_in(file, "anna", "free"), await make_key_in(file, "ben", "premium")
    app = await start_app(keys_db=str(file), api_key="single", jwt_secret=JWT_SECRET)
    tiers = [
        (await get_limits(app, x_api_key=key)).json()["tier"]
        for key in (anna.text, ben.text, "single", token())
    ]
    assert tiers == ["free", "premium", "premium", "free"]


async def test_a_key_without_the_scope_is_forbidden(start_app: StartApp, file: Path) -> None:
    reader = await make_key_in(file, scopes=frozenset({Scope.READ}))
    streamer = await make_key_in(file, scopes=frozenset({Scope.STREAM}))
    app = await start_app(keys_db=str(file))
    await expect_refusal(app, "forbidden", 4403, headers={"x-api-key": reader.text})
    assert (await get_limits(app, x_api_key=reader.text)).status_code == 200
    await expect_stream(app, x_api_key=streamer.text)
    answer = await get_limits(app, x_api_key=streamer.text)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_key_revoked_at_run_time_is_refused_and_ends_its_streams(
    start_app: StartApp, file: Path
) -> None:
    key = await make_key_in(file)
    app = await start_app(keys_db=str(file))
    async with MemorySocket(app, headers={"x-api-key": key.text}) as running:
        running.send(draw_words(["one", "two"]).tobytes())
        running.send({"type": "ping"})
        await running.receive_until("pong")
        other = KeyDatabase(str(file))
        assert await other.revoke_key(key.id)
        await other.close()
        assert "revoked" in await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": key.text})
        await app.state.context.services.revocation_monitor.end_revoked_streams()
        frames = await running.receive_until("close")
    assert [frame["code"] for frame in frames if frame["type"] in {"error", "close"}] == [
        "unauthorized",
        4401,
    ]
    assert frames[-3]["text"] == "one two"


async def test_an_expired_key_is_refused(start_app: StartApp, file: Path) -> None:
    key = await make_key_in(file, expires=datetime.now(UTC) - timedelta(minutes=1))
    app = await start_app(keys_db=str(file))
    assert "expired" in await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": key.text})


async def test_the_last_use_of_a_key_is_recorded(start_app: StartApp, file: Path) -> None:
    key = await make_key_in(file)
    app = await start_app(keys_db=str(file))
    await expect_stream(app, x_api_key=key.text)
    access = app.state.context.access
    await access.key_store_backend.flush_writes()
    kept = await access.key_store.find_key(key.id)
    assert kept.last_used is not None


async def test_tokens_open_streams(start_app: StartApp) -> None:
    app = await start_app(jwt_secret=JWT_SECRET, jwt_audience="echoic")
    await expect_stream(app, authorization=f"Bearer {token(aud='echoic')}")
    await expect_refusal(app, "unauthorized", 4401, headers={"authorization": f"Bearer {token()}"})
    late = token(aud="echoic", exp=1)
    assert "expired" in await expect_refusal(
        app, "unauthorized", 4401, headers={"authorization": f"Bearer {late}"}
    )


async def test_an_unavailable_key_store_ends_no_running_stream(start_app: StartApp, file: Path) -> None:
    key = await make_key_in(file)
    app = await start_app(keys_db=str(file))
    async with MemorySocket(app, headers={"x-api-key": key.text}) as running:
        running.send({"type": "ping"})
        assert await running.receive_frame() == PONG
        await app.state.context.access.key_store_backend.flush_writes()
        for part in file.parent.glob("keys.db*"):
            part.write_bytes(b"no database " * 400)
        await app.state.context.access.key_store.close()  # a new connection sees it
        await expect_refusal(app, "server_busy", 1013, headers={"x-api-key": key.text})
        await app.state.context.services.revocation_monitor.end_revoked_streams()
        running.send({"type": "ping"})
        assert await running.receive_frame() == PONG
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            ready = await client.get("/readyz")
            assert (ready.status_code, "key store" in ready.json()["waits_for"]) == (503, True)
    assert (await get_limits(app, x_api_key=key.text)).status_code == 503


async def test_an_unusable_key_store_stops_the_start(tmp_path: Path, logged: io.StringIO) -> None:
    (tmp_path / "file").touch()
    app = build_app(
        Settings.model_validate({"keys_db": str(tmp_path / "file" / "keys.db"), "preload_model": ""})
    )
    with pytest.raises(KeyStoreUnavailable):
        async with app.router.lifespan_context(app):
            pass
    assert "event=keys.unavailable" in logged.getvalue()


@pytest.mark.parametrize(
    "credentials",
    [{"api_key": "k"}, {"jwt_secret": JWT_SECRET}, {"keys_db": "keys.db"}, {"api_key": "k", "host": "::"}],
)
def test_with_authentication_the_core_endpoint_is_off_by_default(
    credentials: dict[str, str], tmp_path: Path
) -> None:
    if "keys_db" in credentials:
        credentials = {"keys_db": str(tmp_path / credentials["keys_db"])}
    assert not load_settings(None, {}, **credentials).is_core_served
    assert load_settings(None, {}, core_endpoint=True, **credentials).is_core_served


async def test_a_proxy_on_loopback_does_not_bypass_authentication(start_app: StartApp) -> None:
    app = await start_app(api_key="k")
    await expect_stream(app, x_api_key="k")
    with pytest.raises(AssertionError):  # it does not even accept
        await expect_stream(app, CORE, x_api_key="k", x_forwarded_for="127.0.0.1")


async def test_with_authentication_foreign_origins_are_refused(start_app: StartApp) -> None:
    app = await start_app(api_key="k", allowed_origins="https://friend.example")
    for origin in ("http://server", "https://friend.example"):
        await expect_stream(app, x_api_key="k", host="server", origin=origin)
    headers = {"x-api-key": "k", "host": "server", "origin": "https://evil.example"}
    await expect_refusal(app, "forbidden", 4403, headers=headers)


@pytest.mark.parametrize("path", [STREAM_PATH, CORE])
async def test_without_authentication_only_loopback_origins_are_allowed(
    start_app: StartApp, path: str
) -> None:
    app = await start_app()
    host = "127.0.0.1:8000"
    await expect_stream(app, path, host=host)
    for origin in (f"http://{host}", "http://localhost:3000"):
        await expect_stream(app, path, host=host, origin=origin)
    for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example:8000"):
        await expect_refusal(app, "forbidden", 4403, path, headers={"host": host, "origin": origin})
    app = await start_app(allowed_origins="https://friend.example")
    await expect_stream(app, path, host=host, origin="https://friend.example")
    await expect_stream(await start_app(allowed_origins="*"), path, host=host, origin="https://evil.example")


async def test_allowed_origins_may_import_the_modules_of_the_page(start_app: StartApp) -> None:
    app = await start_app(api_key="k", allowed_origins="https://friend.example")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        for file in ("/echoic.js", "/replay.js", "/recorder.js"):
            friend = await client.get(file, headers={"origin": "https://friend.example"})
            assert friend.headers["access-control-allow-origin"] == "https://friend.example"
            other = await client.get(file, headers={"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers
            assert {answer.headers["vary"] for answer in (friend, other, await client.get(file))} == {
                "Origin"
            }
        page = await client.get("/", headers={"origin": "https://friend.example"})
        assert "access-control-allow-origin" not in page.headers


@pytest.mark.parametrize("path", [STREAM_PATH, CORE])
async def test_a_rebound_host_is_refused(start_app: StartApp, path: str) -> None:
    app = await start_app()
    rebound = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    assert "allowed_origins" in await expect_refusal(app, "forbidden", 4403, path, headers=rebound)
    for url in (LIMITS, "/", "/metrics", "/api/v1/audio/stream/status"):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://evil.example"
        ) as page:
            assert (await page.get(url)).status_code == 403
            assert (await page.get(url, headers={"host": "127.0.0.1:8000"})).status_code == 200
    ours = {"host": "speech.example", "origin": "https://speech.example"}
    app = await start_app(allowed_origins="https://speech.example")
    await expect_stream(app, path, **ours)


async def test_with_authentication_any_host_is_allowed(start_app: StartApp) -> None:
    app = await start_app(api_key="k")
    await expect_stream(app, x_api_key="k", host="speech.example", origin="https://speech.example")
    await expect_refusal(app, "unauthorized", 4401, headers={"host": "evil.example", "x-api-key": "guess"})


async def test_only_allowed_addresses_are_served(start_app: StartApp) -> None:
    app = await start_app(allowed_addresses="192.0.2.0/24", trusted_proxies="127.0.0.1")
    for path in (STREAM_PATH, CORE):
        await expect_stream(app, path, x_forwarded_for="192.0.2.7")
        await expect_refusal(app, "forbidden", 4403, path, headers={"x-forwarded-for": "198.51.100.1"})
        await expect_refusal(
            app, "forbidden", 4403, path, headers={"x-forwarded-for": "192.0.2.7, 198.51.100.1"}
        )
    assert (await get_limits(app, x_forwarded_for="192.0.2.7")).status_code == 200
    answer = await get_limits(app, x_forwarded_for="198.51.100.1")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        assert (await client.get("/metrics")).status_code == 403


async def test_forwarded_addresses_of_untrusted_peers_are_ignored(start_app: StartApp) -> None:
    app = await start_app(allowed_addresses="192.0.2.0/24")
    await expect_refusal(app, "forbidden", 4403, headers={"x-forwarded-for": "192.0.2.7"})


def find_problems(**settings: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {}, **settings)
    return caught.value.problems


def test_unusable_auth_settings_are_reported(tmp_path: Path) -> None:
    assert "neither an address nor a network" in find_problems(allowed_addresses="10.0.0.1/8")[0]
    for wrong in (
        "example.org",
        "https://a.example https://b.example",
        "https://*.example",
        "https://a.example/app",
    ):
        (told,) = find_problems(allowed_origins=wrong)
        assert "is not an origin" in told
        assert "https://a.example, https://b.example:8443" in told
    assert "32 bytes" in find_problems(jwt_secret="x" * 31)[0]
    assert "cannot be read" in find_problems(jwt_public_key_file=str(tmp_path / "gone.pem"))[0]
    (tmp_path / "key.pem").write_text("-----BEGIN NONSENSE-----")
    assert "status_needs_key is set, but no key" in find_problems(status_needs_key=True)[0]
    assert "RSA" in find_problems(jwt_public_key_file=str(tmp_path / "key.pem"))[0]
    assert "asynchronous driver" in find_problems(keys_db="postgresql://anna:s3cret@db/keys")[0]
    for told in (
        *find_problems(jwt_secret="s3cret" * 2),
        *find_problems(keys_db="postgresql://anna:s3cret@db/keys"),
        *find_problems(keys_db="no url://s3cret"),
    ):
        assert "s3cret" not in told


def test_a_key_store_or_tokens_allow_an_open_network(file: Path) -> None:
    for credentials in ({"keys_db": str(file)}, {"jwt_secret": JWT_SECRET}):
        assert load_settings(None, {}, host="0.0.0.0", **credentials).auth.is_key_required  # noqa: S104  # nothing listens


async def test_no_secret_is_in_a_log_an_error_or_a_repr(
    start_app: StartApp, file: Path, logged: io.StringIO
) -> None:
    good = await make_key_in(file)
    gone = await make_key_in(file, expires=datetime.now(UTC) - timedelta(minutes=1))
    app = await start_app(keys_db=str(file), api_key="the single key", jwt_secret=JWT_SECRET)
    expired = token(exp=1)
    secrets = [
        good.text,
        gone.text,
        token(),
        expired,
        "the single key",
        "a wrong one",
        good.text + "x",
        JWT_SECRET,
    ]
    said: list[object] = []
    for secret in secrets:
        said.append((await get_limits(app, x_api_key=secret)).text)
        for query, first in ((f"token={secret}", {"type": "ping"}), ("", {"type": "auth", "token": secret})):
            async with MemorySocket(app, query=query) as socket:
                socket.send(dict(first))
                said.append(await socket.receive_frame())
    context = app.state.context
    said += [logged.getvalue(), repr(context), repr(context.settings), str(context.settings), vars(app.state)]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        for path in ("/api/v1/audio/stream/status", "/metrics", "/readyz", "/openapi.json"):
            said.append((await client.get(path)).text)
    text = json.dumps(said, default=repr)
    assert "stream.opened" in text
    assert good.id in text
    for secret in (*secrets, *(key.text[20:] for key in (good, gone))):
        assert secret not in text, secret[:12]


async def test_wrong_keys_are_throttled_by_address_and_good_ones_never(
    start_app: StartApp, file: Path
) -> None:
    good, fresh = await make_key_in(file), await make_key_in(file)
    app = await start_app(keys_db=str(file), wrong_keys_per_minute=3, trusted_proxies="127.0.0.1")
    here, there = {"x-forwarded-for": "192.0.2.1"}, {"x-forwarded-for": "192.0.2.2"}
    await expect_stream(app, x_api_key=good.text, x_forwarded_for="192.0.2.1")
    for query in ("token=guess", f"token={generate_key().text}", f"token={fresh.text[:-1]}"):
        await expect_refusal(app, "unauthorized", 4401, headers=here, query=query)
    assert "Too many wrong keys" in await expect_refusal(
        app, "server_busy", 1013, headers=here, query="token=another"
    )
    answer = await get_limits(app, x_api_key="guess", x_forwarded_for="192.0.2.1")
    assert (answer.status_code, int(answer.headers["retry-after"])) == (429, answer.json()["retry_after"])
    async with MemorySocket(app, headers=here) as socket:
        socket.send({"type": "auth", "token": fresh.text})  # never seen: it waits with the others
        assert (await socket.receive_frame())["retry_after"] <= 20
    await expect_stream(app, x_api_key=good.text, x_forwarded_for="192.0.2.1")
    await expect_stream(app, x_api_key=fresh.text, x_forwarded_for="192.0.2.2")
    await expect_refusal(app, "unauthorized", 4401, headers=there, query="token=guess")
    await expect_refusal(
        app, "server_busy", 1013, headers={"x-forwarded-for": "192.0.2.9, 192.0.2.1"}, query="token=a"
    )


async def test_only_unknown_credentials_count_as_wrong(start_app: StartApp, file: Path) -> None:
    expired = await make_key_in(file, expires=datetime.now(UTC) - timedelta(minutes=1))
    reader = await make_key_in(file, scopes=frozenset({Scope.READ}))
    app = await start_app(
        keys_db=str(file), jwt_secret=JWT_SECRET, wrong_keys_per_minute=1, auth_timeout_seconds=0.01
    )
    for _ in range(3):
        await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": expired.text})
        await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": token(exp=1)})
        await expect_refusal(app, "forbidden", 4403, headers={"x-api-key": reader.text})
        await expect_refusal(app, "unauthorized", 4401)  # none at all
    await expect_refusal(app, "unauthorized", 4401, headers={"x-api-key": "guess"})
    await expect_refusal(app, "server_busy", 1013, headers={"x-api-key": "guess"})


async def test_a_resumed_session_depends_on_the_key_that_resumed_it(start_app: StartApp, file: Path) -> None:
    first, second = await make_key_in(file), await make_key_in(file)
    app = await start_app(keys_db=str(file))
    context = app.state.context
    async with MemorySocket(app, headers={"x-api-key": first.text}) as socket:
        socket.send({"type": "config", "model": "scripted", "resumable": True})
        status = (await socket.receive_until("status"))[-1]
    async with MemorySocket(app, headers={"x-api-key": second.text}) as socket:
        socket.send({"type": "config", "resume": status["resume_token"], "received": status["seq"]})
        assert (await socket.receive_frame())["state"] == "resumed"
        await context.access.key_store.revoke_key(first.id)
        await context.services.revocation_monitor.end_revoked_streams()
        socket.send({"type": "ping"})
        assert (await socket.receive_frame())["type"] == "pong"
        await context.access.key_store.revoke_key(second.id)
        await context.services.revocation_monitor.end_revoked_streams()
        assert (await socket.receive_until("error"))[-1]["code"] == "unauthorized"
        assert await socket.receive_frame() == {"type": "close", "code": 4401}

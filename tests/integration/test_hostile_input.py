"""Hostile input: paths, headers, JSON, and names that are code elsewhere (SQL, Redis keys, log lines)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect

from echoic.auth.key_database import KeyDatabase
from echoic.engines.scripted import draw_words
from echoic.errors import AccessRefused
from echoic.observability.logging import build_log_formatter
from echoic.protocol.constants import STREAM_PATH
from echoic.quotas.model import StreamLease, TierLimits
from echoic.quotas.redis import RedisQuotaStore
from support.builders import make_key_in
from support.database_servers import ValkeyServer
from support.memory_socket import MemorySocket
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from support.in_memory_app import StartApp

CORE = "/core/parakeet/stream"
API = "/api/v1/audio/stream"
LEAKED_LINE = "root:x:0:0"  # how /etc/passwd begins
ESCAPES = ["/", "%2f", "%5c", "%252f"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server process that must log no error and no traceback in the whole module."""
    with ServerProcess(trusted_proxies="192.0.2.1") as server:
        yield server.address
        server.process.terminate()
        code, log = server.wait_for_exit()
    assert code == 0
    assert "level=error" not in log
    assert "Traceback" not in log


async def send_raw(address: str, request: bytes) -> bytes:
    """Return the response to raw bytes; empty: the server closed the connection."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            writer.write(request)
            writer.write_eof()
            return await reader.read()
    except OSError:
        return b""
    finally:
        writer.close()


async def is_serving(address: str) -> bool:
    async with connect(f"ws://{address}{STREAM_PATH}") as client:
        await client.send('{"type":"config","model":"scripted"}')
        await client.send(draw_words(["one"]).tobytes())
        await client.send('{"type":"stop"}')
        return "one" in [json.loads(frame).get("text") async for frame in client]


# ---- paths


async def test_no_path_leaves_the_folder_of_the_page(address: str) -> None:
    files = ("etc/passwd", "app.js/../../settings.py", "pyproject.toml", "proc/self/environ")
    targets = [f"/{('..' + slash) * 8}{file}" for slash in ESCAPES for file in files]
    targets += [
        "//etc/passwd",
        "/./..//etc/passwd",
        "/%00/etc/passwd",
        "/static/../../etc/passwd",
        "/app.js%00",
    ]
    for target in targets:
        answer = await send_raw(
            address, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), target
        assert LEAKED_LINE.encode() not in answer
    assert await is_serving(address)


async def test_model_names_are_not_paths(address: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    names = [
        str(tmp_path),
        "../../../etc/passwd",
        "parakeet-../../etc",
        "whisper-/etc/passwd",
        "..",
        ".",
        "~",
    ]
    names += [
        "file:///etc/passwd",
        "https://models.example/x",
        "C:\\models",
        "org/name",
        "a\0b",
        "$HOME",
        "{0}",
    ]
    async with connect(f"ws://{address}{STREAM_PATH}") as client:
        for name in names:
            await client.send(json.dumps({"type": "config", "model": name}))
            answer = json.loads(await client.recv())
            assert answer["code"] in {"model_unavailable", "invalid_config"}, name
            await client.send(json.dumps({"type": "config", "model_variant": name}))
            assert json.loads(await client.recv())["code"] == "invalid_config"


async def test_a_client_cannot_name_server_files(app: FastAPI, tmp_path: Path) -> None:
    file = tmp_path / "out"
    names = (
        "models_dir",
        "parakeet_onnx_dir",
        "custom_vocab_terms_file",
        "audio_path",
        "keys_db",
        "store_audio",
    )
    async with MemorySocket(app) as socket:
        socket.send({"type": "config", "model": "scripted", **dict.fromkeys(names, str(file))})
        status = (await socket.receive_until("status"))[-1]
        assert set(status["ignored"]) == set(names)
        socket.send(draw_words(["one"]).tobytes())
        socket.send({"type": "stop"})
        await socket.receive_until("full_transcript")
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


# ---- headers


async def test_malformed_and_oversized_headers_are_refused(address: str) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for more in (
        b"X-Long: " + b"a" * 200_000 + b"\r\n",
        b"".join(b"X-%d: a\r\n" % number for number in range(20_000)),
        b"X-Bad: a\0b\r\n",
        b"X-Bad: a\rb\r\n",
        b"no header at all\r\n",
        b": nameless\r\n",
        b"Host: other.example\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nTransfer-Encoding: nonsense\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -1\r\n",
    ):
        answer = await send_raw(address, start + more + b"\r\n")
        assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 431", b"HTTP/1.1 501"), more[
            :40
        ]
    assert await is_serving(address)


async def test_a_line_break_in_a_request_makes_no_header(address: str) -> None:
    for target in (f"{API}/limits?token=%0d%0aX-Evil:%201", "/%0d%0aX-Evil:%201", f"{API}/limits/"):
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = (await send_raw(address, request.encode())).lower()
        head = answer.partition(b"\r\n\r\n")[0]
        assert b"x-evil" not in head
        assert b"location" not in head  # no redirect to the host of the Host header
        assert b"uvicorn" not in head


async def test_the_first_of_several_credentials_counts(start_app: StartApp) -> None:
    app = await start_app(api_key="right")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for first, second, code in (("wrong", "right", 401), ("right", "wrong", 200)):
            twice = [("Authorization", f"Bearer {first}"), ("Authorization", f"Bearer {second}")]
            assert (await client.get(f"{API}/limits", headers=twice)).status_code == code
            query = f"token={first}&token={second}"
            assert (await client.get(f"{API}/limits?{query}")).status_code == code


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        (None, "192.0.2.7", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "10.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1, 10.0.0.0/8", "192.0.2.7, 10.0.0.1", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.7, nonsense", "None"),
        ("127.0.0.1", "x" * 10_000, "None"),
        ("127.0.0.1", "192.0.2.7 level=error", "None"),
        ("127.0.0.1", ",,,", "None"),
    ],
)
async def test_only_trusted_proxies_set_the_client_address(
    start_app: StartApp, logged: io.StringIO, proxies: str | None, forwarded: str, seen: str
) -> None:
    app = await start_app(trusted_proxies=proxies)
    async with MemorySocket(
        app, headers={"x-forwarded-for": forwarded, "forwarded": "for=192.0.2.9"}
    ) as socket:
        socket.send({"type": "ping"})
        await socket.receive_frame()
    (line,) = [line for line in logged.getvalue().splitlines() if "event=stream.opened" in line]
    assert f"address={seen}" in line.split()


async def test_other_sites_cannot_read_responses(app: FastAPI) -> None:
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        for path in (f"{API}/limits", f"{API}/status", "/metrics", "/", "/openapi.json"):
            answer = await client.get(path, headers=evil)
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            preflight = await client.options(path, headers=evil | {"access-control-request-method": "GET"})
            assert preflight.status_code == 405


# ---- JSON


BOMBS = {
    "deep lists": "[" * 1_000_000,
    "deep objects": '{"type":"config","a":' + '{"a":' * 500_000,
    "a deep value that is skipped": '{"type":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a huge number": '{"type":"config","sample_rate":' + "9" * 100_000 + "}",
    "a huge exponent": '{"type":"config","chunk_duration":1e999999999}',
    "not a number": '{"type":"config","chunk_duration":NaN}',
    "infinity": '{"type":"config","chunk_duration":-Infinity}',
    "a lone surrogate": '{"type":"config","model":"\\ud800"}',
    "a lone surrogate as a key": '{"type":"config","\\udfff":1}',
    "a surrogate as the type": '{"type":"\\ud800"}',
    "many keys": '{"type":"config",' + ",".join(f'"k{n}":{n}' for n in range(50_000)) + "}",
    "one key many times": '{"type":"ping",' + ",".join('"type":"commit"' for _ in range(10_000)) + "}",
    "a long type": '{"type":"' + "x" * (8 * 2**20 - 20) + '"}',
    "a long string": '{"type":"config","model":"' + "x" * (8 * 2**20 - 40) + '"}',
    "a long name": '{"type":"config","model":"' + "x" * 500_000 + '"}',
    "control characters": '{"type":"a\\r\\nlevel=error\\u001b[31m\\u0000"}',
    "raw control characters": '{"type":"a\r\nb"}',
    "a byte order mark": '\ufeff{"type":"ping"}',
    "a prototype": '{"type":"config","__proto__":{"admin":true},"constructor":{"prototype":{}}}',
    "a template": '{"type":"config","model":"{{7*7}}${7*7}%s%n<%= 7*7 %>"}',
    "SQL": '{"type":"config","model":"x\' OR 1=1; DROP TABLE echoic_keys; --"}',
    "a page": '{"type":"config","model":"<script>alert(1)</script>"}',
    "comments": '{"type":"ping"/* */}',
    "two documents": '{"type":"ping"}{"type":"ping"}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("path", [STREAM_PATH, CORE])
async def test_hostile_json_does_not_end_the_session(
    app: FastAPI, logged: io.StringIO, path: str, bomb: str
) -> None:
    async with MemorySocket(app, path) as socket:
        socket.send_text(bomb)
        socket.send({"type": "config", "model": "scripted", "sample_rate": 48_000})
        answers = await socket.receive_until("status")
        while answers[-1].get("sample_rate") != 48_000:  # what was sent first was a config
            answers += await socket.receive_until("status")
        socket.send(draw_words(["one"], rate=48_000).tobytes())
        socket.send({"type": "commit"})
        assert (await socket.receive_until("full_transcript"))[-1]["text"] == "one"
    assert "49" not in [str(answer.get("active_model")) for answer in answers]
    lines = logged.getvalue().splitlines()
    assert all(line.startswith("time=") for line in lines)
    assert not [line for line in lines if "level=error" in line or not line.isprintable()]


async def test_a_hostile_first_message_is_refused(start_app: StartApp) -> None:
    app = await start_app(api_key="right", wrong_keys_per_minute=0)
    tokens = [
        f'{{"type":"auth","token":{token}}}' for token in ('"\\ud800"', "1e999", '"' + "x" * 8_000_000 + '"')
    ]
    for message in (*BOMBS.values(), *tokens, '{"type":"auth","token":"right","token":"wrong"}'):
        async with MemorySocket(app) as socket:
            socket.send_text(message)
            assert (await socket.receive_frame())["code"] == "unauthorized"
            assert await socket.receive_frame() == {"type": "close", "code": 4401}


# ---- names


@pytest.mark.parametrize(
    "name",
    ["' OR '1'='1", "0' UNION SELECT * FROM echoic_users --", "%", "_" * 12, "0" * 12 + "\0", "é" * 12, ""],
)
async def test_key_ids_are_not_sql(tmp_path: Path, name: str) -> None:
    file = tmp_path / "keys.db"
    good = await make_key_in(file)
    store = KeyDatabase(str(file))
    await store.open()
    try:
        assert await store.find_key(name) is None
        assert not await store.revoke_key(name)
        assert await store.list_keys(name) == []
        assert not await store.set_tier(name, "free")
        _, odd = await store.create_key("x'); DROP TABLE echoic_keys; --")
        assert [key.id for key in await store.list_keys(odd.user)] == [odd.id]
        assert await store.find_key(good.id) is not None
    finally:
        await store.close()


async def test_user_names_do_not_collide_in_the_quota_store() -> None:
    names = [
        "a",
        "a}:streams",
        "{a}",
        "a:streams",
        "a*",
        "a\n",
        "a}{b",
        "%7Ba%7D",
        "ä",
        "a b",
        "a\r\nFLUSHALL\r\n",
    ]
    one = TierLimits(max_streams=1)
    with ValkeyServer() as valkey:
        store = RedisQuotaStore(valkey.url)
        try:
            for number, name in enumerate(names):
                assert (
                    await store.acquire_lease(StreamLease(name, f"lease {number}"), one, 60)
                ).is_admitted, name
            assert [(await store.read_usage(name)).active_streams for name in names] == [1] * len(names)
            keys = [key.decode() async for key in store._client.scan_iter()]  # noqa: SLF001  # what it really keeps
        finally:
            await store.close()
    tags = {key.partition("{")[2].partition("}")[0] for key in keys}
    assert tags == {quote(name, safe="") for name in names}
    assert all(key.startswith("echoic:quota:{") and key.count("}") == 1 for key in keys)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the server logs, at every level, as it would be written."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(build_log_formatter(as_json=False))
    logger = logging.getLogger("echoic")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.setLevel(before)
    logger.removeHandler(handler)


async def test_user_names_do_not_forge_log_lines(
    start_app: StartApp, tmp_path: Path, logged: io.StringIO
) -> None:
    file = tmp_path / "keys.db"
    name = 'anna" level=error event=forged <b>x</b> [red]x[/red] %s {0}'
    key = await make_key_in(file, name)
    app = await start_app(keys_db=str(file))
    async with MemorySocket(app, headers={"x-api-key": key.text}) as socket:
        socket.send({"type": "ping"})
        await socket.receive_frame()
    (line,) = [line for line in logged.getvalue().splitlines() if "stream.opened" in line]
    assert json.dumps(name)[1:-1] in line
    assert line.count("level=") == 2  # its own, and the quoted one


async def receive_first_frame(app: FastAPI, **headers: str) -> dict[str, Any]:
    async with MemorySocket(app, headers=headers) as socket:
        return await socket.receive_frame()


async def test_any_bytes_are_only_a_wrong_credential(start_app: StartApp, tmp_path: Path) -> None:
    app = await start_app(keys_db=str(tmp_path / "keys.db"), jwt_secret="s" * 32, wrong_keys_per_minute=0)
    for key in (
        "",
        "\0",
        "ÿ" * 100,
        "echoic_" + "0" * 12 + "_" + "A" * 43,
        "a.b.c",
        "x" * 60_000,
        "' OR 1=1 --",
    ):
        frame = await receive_first_frame(app, **{"x-api-key": key})
        assert frame["code"] == "unauthorized"
    guard = app.state.context.access.authenticator
    with pytest.raises(AccessRefused):
        await guard.authenticate_key("\ud800" * 10, None)

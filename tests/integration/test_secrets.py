"""No key, token, audio or transcript appears in anything that a server writes."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.builders import make_key_in
from support.database_servers import ValkeyServer
from support.server_process import ServerProcess
from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.asyncio.client import ClientConnection

WORDS = ["alpha", "bravo", "charlie", "delta"]
AUDIO = draw_words(WORDS).tobytes()
ENCODED = base64.b64encode(AUDIO).decode()
SINGLE = "hush-4417-single"
SCRAPE = "hush-5190-scrape"
SIGNS = "hush-6622-a-shared-secret-of-enough-bytes"
INSIGHT = "hush-7731-insight"
WRONG = "wrong-9920-key"
TERM = "hushedterm"
ADD_ONS = {
    "vocabulary": {"terms": [TERM], "replacements": {"alpha": TERM}},
    "insights": {"enabled": True},
    "diarization": {"enabled": True, "store_audio": True},
}
LIMITS = "/api/v1/audio/stream/limits"


class SecretTraffic:
    """Sends secrets to a server in every way that clients may.

    Args:
        address: The server's ``host:port``.
        keys: Two users' keys: one without limits, one with a small quota.
    """

    def __init__(self, address: str, keys: tuple[str, str]) -> None:
        self.address = address
        self.rich, self.poor = keys
        self.signed = jwt.encode({"sub": "ben", "exp": time.time() + 600}, SIGNS, "HS256")
        self.expired = jwt.encode({"sub": "ben", "exp": 1}, SIGNS, "HS256")
        self.resume_tokens: list[str] = []

    @property
    def secrets(self) -> list[str]:
        """The texts that the server must not write."""
        credentials = [
            SINGLE,
            SCRAPE,
            SIGNS,
            WRONG,
            self.signed,
            self.expired,
            self.rich[20:],
            self.poor[20:],
        ]
        audio = [ENCODED[:16], ENCODED[-16:], AUDIO[:8].hex(), str(AUDIO[:8])[2:-1]]
        return [*credentials, *self.resume_tokens, *audio, *WORDS, TERM]

    def open_stream(self, query: str = "", **headers: str) -> connect:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(f"ws://{self.address}{STREAM_PATH}{query}", additional_headers=named)

    async def present_credentials(self) -> None:
        """Present valid and invalid credentials of every kind in every way, and stream where accepted."""
        for secret in (self.rich, SINGLE, self.signed, self.expired, WRONG, self.rich[:-1]):
            for query, headers, first in (
                ("", {"authorization": f"Bearer {secret}"}, ""),
                ("", {"x_api_key": secret}, ""),
                (f"?token={secret}", {}, ""),
                ("", {}, secret),
            ):
                async with self.open_stream(query, **headers) as client:
                    if first:
                        await client.send(json.dumps({"type": "auth", "token": first}))
                    await send_words(client)

    async def exhaust_quota(self) -> None:
        """Exhaust the quota of minutes."""
        for _ in range(4):
            async with self.open_stream(x_api_key=self.poor) as client:
                await send_words(client)

    async def resume_session(self) -> None:
        """Lose a connection, then resume with a wrong token and with the right one."""
        client = await self.open_stream(x_api_key=self.rich)
        await client.send('{"type":"config","model":"scripted","resumable":true}')
        status = await receive_until(client, "status")
        self.resume_tokens.append(status["resume_token"])
        self.resume_tokens.append(status["resume_token"].partition(".")[2])
        await client.send(AUDIO)
        client.transport.abort()
        for token in (self.resume_tokens[0][:-1] + "!", self.resume_tokens[0]):
            async with self.open_stream(x_api_key=self.rich) as again:
                await again.send(json.dumps({"type": "config", "resume": token, "received": 1}))
                await send_words(again)

    async def send_requests(self) -> None:
        """Send HTTP requests with valid and invalid keys, and bytes that are not HTTP."""
        async with httpx.AsyncClient(base_url=f"http://{self.address}") as client:
            for secret in (self.rich, SINGLE, SCRAPE, self.signed, WRONG):
                for path in (LIMITS, "/metrics", "/readyz", f"/{secret}", f"/{STREAM_PATH}/{secret}"):
                    await client.get(f"{path}?token={secret}")
                    await client.get(path, headers={"authorization": f"Bearer {secret}"})
                    await client.post(path, content=ENCODED, headers={"x-api-key": secret})
        upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 1\r\n\r\n"
        for line in (
            f"GET {LIMITS}?token={self.rich} HTTP/9.9\r\n\r\n",
            f"GET {STREAM_PATH}?token={self.rich} HTTP/1.1\r\nHost: {self.address}\r\n{upgrade}",
            f"{self.rich}\r\n{ENCODED[:100]}\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(*self.address.split(":"))
            with suppress(OSError):
                writer.write(line.encode())
                writer.write_eof()
                await reader.read()
            writer.close()
        with suppress(InvalidStatus):
            async with connect(f"ws://{self.address}/{self.rich}?token={self.rich}"):
                pass


async def receive_until(client: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            frame: dict[str, Any] = json.loads(await client.recv())
            if frame["type"] == kind:
                return frame


async def send_words(client: ClientConnection) -> None:
    """Send words in every form and invalid messages; read until the close."""
    with suppress(ConnectionClosed):
        await client.send(json.dumps({"type": "config", "model": "scripted", **ADD_ONS}))
        await client.send(AUDIO)
        await client.send(json.dumps({"type": "audio", "data": ENCODED}))
        await client.send(json.dumps({"type": "audio", "data": ENCODED[:-3]}))
        await client.send(json.dumps({"type": "alpha", "words": "bravo"}))
        await client.send(json.dumps({"type": "config", "model": TERM}))
        await client.send(json.dumps({"type": "config", "language": TERM, "sample_rate": TERM}))
        await client.send(ENCODED)
        await client.send('{"type":"stop"}')
        async with asyncio.timeout(WAIT_SECONDS):
            async for _ in client:
                pass


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_a_server_writes_no_secret(tmp_path: Path, log_format: str) -> None:
    file = tmp_path / "keys.db"
    keys = ((await make_key_in(file, "anna", "premium")).text, (await make_key_in(file, "poor", "free")).text)
    with (
        ValkeyServer() as valkey,
        ServerProcess(
            keys_db=str(file),
            api_key=SINGLE,
            metrics_key=SCRAPE,
            jwt_secret=SIGNS,
            redis_url=valkey.url,
            tier_limits='{"free": {"daily_minutes": 0.1, "concurrent_streams": 1}}',
            wrong_keys_per_minute="6",
            insights_provider="rules",
            insights_api_key=INSIGHT,
            log_level="debug",
            log_format=log_format,
        ) as server,
    ):
        traffic = SecretTraffic(server.address, keys)
        await traffic.exhaust_quota()  # first: a key that was valid once is checked despite many wrong ones
        await traffic.present_credentials()
        await traffic.resume_session()
        await traffic.send_requests()
        valkey.kill()
        await traffic.exhaust_quota()
        valkey.start()
        await traffic.exhaust_quota()
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    for event in ("stream.opened", "stream.refused", "stream.resumed", "stream.error", "quota.store_away"):
        assert event in log
    for reason in ("unauthorized", "quota_exceeded", "server_busy", "resume_failed"):
        assert reason in log
    written = "\n".join((*server.stdout_lines, log))
    for secret in traffic.secrets:
        assert secret not in written, secret

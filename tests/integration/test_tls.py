"""TLS in a real server process, and the clients' messages about certificates."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import ssl
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from echoic.cli.models import fetch_models
from echoic.client import ServerError
from echoic.client import connect as client_connect
from echoic.engines.scripted import draw_words
from echoic.protocol.constants import STREAM_PATH
from support.certificates import CertificateFiles
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def request_without_tls(address: str) -> bytes:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as plain, suppress(ConnectionError):
        plain.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return plain.recv(1024)
    return b""


def fetch_health(address: str, trust: ssl.SSLContext) -> int:
    with urllib.request.urlopen(f"https://{address}/healthz", context=trust) as answer:
        status: int = answer.status
    return status


async def test_only_tls_connections_are_served(files: CertificateFiles) -> None:
    with ServerProcess(tls_cert_file=str(files.cert), tls_key_file=str(files.key)) as server:
        address = server.address
        assert [
            f"https://{address}/" in server.stdout_lines[1],
            f"wss://{address}/" in server.stdout_lines[2],
        ] == [True, True]
        async with connect(f"wss://{address}{STREAM_PATH}", ssl=files.client_context) as client:
            await client.send('{"type":"config","model":"scripted"}')
            await client.send(draw_words(["one", "two"]).tobytes())
            await client.send('{"type":"stop"}')
            frames = [json.loads(frame) async for frame in client]
        assert frames[-1]["text"] == "one two"
        assert b"HTTP" not in await asyncio.to_thread(request_without_tls, address)
        assert await asyncio.to_thread(fetch_health, address, files.client_context) == 200
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    assert "Traceback" not in log


@pytest.fixture
def address(files: CertificateFiles) -> Iterator[str]:
    with ServerProcess(tls_cert_file=str(files.cert), tls_key_file=str(files.key)) as server:
        yield server.address


async def fail_to_connect(url: str) -> ServerError:
    with pytest.raises(ServerError) as caught:
        async with client_connect(f"{url}{STREAM_PATH}?token=s3cret", model="scripted"):
            pass
    assert "s3cret" not in str(caught.value)
    return caught.value


async def test_clients_explain_an_untrusted_certificate_or_missing_tls(address: str) -> None:
    """A certificate that is not trusted, and no TLS where the server wants it."""
    error = await fail_to_connect(f"wss://{address}")
    assert error.code == "untrusted"
    assert re.match(r"The certificate of wss://127.*SSL_CERT_FILE .*\.$", str(error))
    error = await fail_to_connect(f"ws://{address}")
    assert (error.code, error.detail) == ("unreachable", {"perhaps": "wss"})
    assert str(error).endswith("try wss://.")
    with pytest.raises(ServerError, match="SSL_CERT_FILE"):
        await asyncio.to_thread(fetch_models, f"wss://{address}", None)


async def test_clients_explain_a_server_without_tls() -> None:
    with ServerProcess() as server:
        error = await fail_to_connect(f"wss://{server.address}")
    assert (error.code, error.detail) == ("unreachable", {"perhaps": "ws"})


async def test_a_private_authority_is_trusted_by_its_file(
    address: str, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    async with client_connect(f"wss://{address}", model="scripted") as stream:
        assert await stream.stop() == ""

"""TLS by the server itself."""

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
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from websockets.asyncio.client import connect

from echoic.cli.models import fetch_models
from echoic.client import ServerError
from echoic.client import connect as client_connect
from echoic.engines.scripted import draw_words
from echoic.server.settings.load import SettingsError, load_settings
from support.live import STREAM_PATH, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Papers:
    """A certificate, its key, and who signed it, in files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        made = self._ca.issue_cert("localhost", "127.0.0.1")
        self.cert, self.key, self.both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)
        made.cert_chain_pems[0].write_to_path(self.cert)
        made.private_key_pem.write_to_path(self.key)
        made.private_key_and_cert_chain_pem.write_to_path(self.both)

    @property
    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


def problems(**given: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {}, **given)
    return caught.value.problems


def answer_in_plain(place: str) -> bytes:
    host, _, port = place.partition(":")
    with socket.create_connection((host, int(port))) as plain, suppress(ConnectionError):
        plain.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return plain.recv(1024)
    return b""


def health(place: str, trust: ssl.SSLContext) -> int:
    with urllib.request.urlopen(f"https://{place}/healthz", context=trust) as answer:
        status: int = answer.status
    return status


async def test_streams_and_answers_are_encrypted_and_nothing_else_is_answered(papers: Papers) -> None:
    files = {"tls_cert_file": str(papers.cert), "tls_key_file": str(papers.key)}
    with ServerProcess(**files) as server:
        place = server.address
        assert [
            f"https://{place}/" in server.stdout_lines[1],
            f"wss://{place}/" in server.stdout_lines[2],
        ] == [True, True]
        async with connect(f"wss://{place}{STREAM_PATH}", ssl=papers.trust) as client:
            await client.send('{"type":"config","model":"scripted"}')
            await client.send(draw_words(["one", "two"]).tobytes())
            await client.send('{"type":"stop"}')
            frames = [json.loads(frame) async for frame in client]
        assert frames[-1]["text"] == "one two"
        assert b"HTTP" not in await asyncio.to_thread(answer_in_plain, place)
        assert await asyncio.to_thread(health, place, papers.trust) == 200
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    assert "Traceback" not in log


@pytest.fixture
def place(papers: Papers) -> Iterator[str]:
    with ServerProcess(tls_cert_file=str(papers.cert), tls_key_file=str(papers.key)) as server:
        yield server.address


async def refusal(url: str) -> ServerError:
    with pytest.raises(ServerError) as caught:
        async with client_connect(f"{url}{STREAM_PATH}?token=s3cret", model="scripted"):
            pass
    assert "s3cret" not in str(caught.value)
    return caught.value


async def test_clients_are_told_what_is_wrong_with_the_certificate_or_the_scheme(place: str) -> None:
    """A certificate that is not trusted, and no TLS where the server wants it."""
    error = await refusal(f"wss://{place}")
    assert error.code == "untrusted"
    assert re.match(r"The certificate of wss://127.*SSL_CERT_FILE\.$", str(error))
    error = await refusal(f"ws://{place}")
    assert (error.code, error.detail) == ("unreachable", {"perhaps": "wss"})
    assert str(error).endswith("perhaps as wss://.")
    with pytest.raises(ServerError, match="SSL_CERT_FILE"):
        await asyncio.to_thread(fetch_models, f"wss://{place}", None)


async def test_tls_to_a_server_without_it_is_told() -> None:
    with ServerProcess() as server:
        error = await refusal(f"wss://{server.address}")
    assert (error.code, error.detail) == ("unreachable", {"perhaps": "ws"})


async def test_a_certificate_of_ones_own_is_trusted_by_its_file(
    place: str, papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.ca))
    async with client_connect(f"wss://{place}", model="scripted") as stream:
        assert await stream.stop() == ""


def test_a_key_in_the_certificates_own_file_will_do(papers: Papers) -> None:
    assert load_settings(None, {}, tls_cert_file=papers.both).server.tls_key_file is None


def test_a_key_without_a_certificate_is_told(papers: Papers) -> None:
    assert problems(tls_key_file=papers.key) == ("[Server] tls_key_file is set, but no tls_cert_file.",)


def test_a_file_that_is_not_there_is_named_by_its_setting(papers: Papers, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    reason = "this file cannot be read: no such file or directory."
    assert problems(tls_cert_file=gone, tls_key_file=papers.key) == (f"[Server] tls_cert_file: {reason}",)
    assert problems(tls_cert_file=papers.cert, tls_key_file=gone) == (f"[Server] tls_key_file: {reason}",)


def test_what_does_not_belong_together_is_told(papers: Papers, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Papers(tmp_path / "other")
    (problem,) = problems(tls_cert_file=papers.cert, tls_key_file=other.key)
    assert problem.endswith("are not a certificate and its key, as PEM and without a password.")
    (problem,) = problems(tls_cert_file=papers.cert)
    assert "alone" in problem


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(papers: Papers, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    key = load_pem_private_key(papers.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (problem,) = problems(tls_cert_file=papers.cert, tls_key_file=locked)
    assert problem.endswith("without a password.")

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest
from fastapi import FastAPI

from echoic.auth.network import AddressList, parse_address
from echoic.server.middleware import RefusalLog, find_request_address
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from support.in_memory_app import StartApp


def logged_refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(line)["event_values"] for line in caplog.records if line.message == "request.refused"]


async def ask(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return await client.get(path, headers=headers)


def test_a_flood_of_refusals_is_a_few_lines_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    now = 7.0
    refusals = RefusalLog(lambda: now)
    address = parse_address("192.0.2.7")
    for _ in range(40):
        refusals.log_refusal("unauthorized", address)
    line = {"code": "unauthorized", "address": "192.0.2.7", "left_out": 0}
    assert logged_refusals(caplog) == [line] * 10
    now = 8.0
    refusals.log_refusal("forbidden", None)
    assert logged_refusals(caplog)[10:] == [{"code": "forbidden", "address": "None", "left_out": 30}]


async def test_wrong_keys_are_logged_with_the_address_only(
    start_app: StartApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    app = await start_app(api_key="k", metrics_key="m", trusted_proxies="127.0.0.1")
    for path in ("/api/v1/audio/stream/limits", "/metrics"):
        await ask(app, path, authorization="Bearer wrong-9920", **{"x-forwarded-for": "192.0.2.7"})
    assert logged_refusals(caplog) == [{"code": "unauthorized", "address": "192.0.2.7", "left_out": 0}] * 2
    assert "wrong-9920" not in caplog.text


async def test_rejected_addresses_and_hosts_are_logged(
    start_app: StartApp, caplog: pytest.LogCaptureFixture
) -> None:
    allowing = await start_app(allowed_addresses="192.0.2.7")
    assert "address" in (await ask(allowing, "/readyz")).json()["message"]
    async with MemorySocket(allowing) as socket:
        assert (await socket.receive_frame())["code"] == "forbidden"
    answer = await ask(await start_app(), "/readyz", host="evil.example")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.json()["message"].startswith("Host not allowed.")
    assert logged_refusals(caplog) == [{"code": "forbidden", "address": "127.0.0.1", "left_out": 0}] * 3


def test_the_address_of_a_request_is_behind_trusted_proxies() -> None:
    scope = {"client": ("127.0.0.1", 4711), "headers": [(b"x-forwarded-for", b"192.0.2.7")]}
    assert find_request_address(scope, AddressList.from_text("127.0.0.1")) == parse_address("192.0.2.7")
    assert find_request_address(scope, AddressList()) == parse_address("127.0.0.1")
    assert find_request_address({"client": None, "headers": []}, AddressList()) is None

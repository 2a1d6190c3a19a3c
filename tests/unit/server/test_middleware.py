from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx

from echoic.auth.network import parse_address
from echoic.server.middleware import RefusalLog
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    import pytest
    from fastapi import FastAPI

    from support.app_fixtures import StartApp


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [vars(line)["event_values"] for line in caplog.records if line.message == "request.refused"]


async def ask(app: FastAPI, path: str, **headers: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        await client.get(path, headers=headers)


def test_a_flood_is_a_few_lines_a_second_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    now = 7.0
    refusals = RefusalLog(lambda: now)
    address = parse_address("192.0.2.7")
    for _ in range(40):
        refusals.log_refusal("unauthorized", address)
    assert told(caplog) == [{"code": "unauthorized", "address": "192.0.2.7", "left_out": 0}] * 10
    now = 8.0
    refusals.log_refusal("forbidden", None)
    assert told(caplog)[10:] == [{"code": "forbidden", "address": "None", "left_out": 30}]


async def test_who_asks_with_a_wrong_key_is_in_the_log(
    start_app: StartApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    app = await start_app(api_key="k", metrics_key="m", trusted_proxies="127.0.0.1")
    for path in ("/api/v1/audio/stream/limits", "/metrics"):
        await ask(app, path, authorization="Bearer wrong-9920", **{"x-forwarded-for": "192.0.2.7"})
    assert told(caplog) == [{"code": "unauthorized", "address": "192.0.2.7", "left_out": 0}] * 2
    assert "wrong-9920" not in caplog.text


async def test_addresses_and_names_that_are_not_answered_are_in_the_log(
    start_app: StartApp, caplog: pytest.LogCaptureFixture
) -> None:
    allowing = await start_app(allowed_addresses="192.0.2.7")
    await ask(allowing, "/readyz")
    async with MemorySocket(allowing) as socket:
        assert (await socket.receive_frame())["code"] == "forbidden"
    await ask(await start_app(), "/readyz", host="evil.example")
    assert told(caplog) == [{"code": "forbidden", "address": "127.0.0.1", "left_out": 0}] * 3

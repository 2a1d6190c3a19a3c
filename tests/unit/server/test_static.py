from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from support.in_memory_app import StartApp


@asynccontextmanager
async def open_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client


async def test_page_files_have_a_strict_security_policy(app: FastAPI) -> None:
    async with open_client(app) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        for name in re.findall(r'(?:src|href)="([^"#]+)"', page.text):
            file = await client.get(f"/{name}")
            assert file.status_code == 200
            assert "default-src 'none'" in file.headers["content-security-policy"]
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert not re.search(r"https?://|<script>|style=|onclick", page.text)


async def test_every_address_in_the_page_is_relative(app: FastAPI) -> None:
    async with open_client(app) as client:
        names = re.findall(r'(?:src|href)="([^"#]+)"', (await client.get("/")).text)
        names += re.findall(r'from "\./([^"]+)"', (await client.get("/app.js")).text)
        assert len(names) > 10
        for name in names:
            assert re.fullmatch(r"[a-z_]+\.[a-z]+", name)
            code = re.sub(r"^\s*//.*", "", (await client.get(f"/{name}")).text, flags=re.MULTILINE)
            assert not re.search(r"""["'(](https?:|wss?:)?//(?!www\.w3\.org/2000/svg)""", code)


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://friend.example", True), ("https://evil.example", False)]
)
async def test_only_allowed_origins_may_import_the_scripts(
    start_app: StartApp, origin: str, *, allowed: bool
) -> None:
    app = await start_app(allowed_origins="https://friend.example")
    async with open_client(app) as client:
        script = await client.get("/echoic.js", headers={"origin": origin})
        page = await client.get("/", headers={"origin": origin})
    assert script.headers["vary"] == "Origin"
    assert script.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert "access-control-allow-origin" not in page.headers

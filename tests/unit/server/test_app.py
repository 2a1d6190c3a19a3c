from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.errors import Unavailable
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from support.memory_socket import MemorySocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from support.in_memory_app import StartApp


@asynccontextmanager
async def open_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        yield client


async def test_only_the_preloaded_model_is_never_unloaded(
    start_app: StartApp,
) -> None:
    specs = [ModelSpec(name, name, "standard", lambda: None, ScriptedEngine) for name in ("kept", "other")]
    app = await start_app(Registry(specs, "kept"), preload_model="kept", model_idle_seconds=1e-6)
    context = app.state.context
    async with open_client(app) as client:
        async with MemorySocket(app) as stream:
            stream.send({"type": "config", "model": "other"})
            while (await stream.receive_frame()).get("state") != "configured":
                pass
            assert set(context.services.engines.loaded_models) == {"kept", "other"}
        while "other" in context.services.engines.loaded_models:  # noqa: ASYNC110  # rounds of the loop
            await asyncio.sleep(0)
        ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["models"]) == (200, ["kept"])


async def test_readiness_names_the_fallback_that_is_loading() -> None:
    gone = ModelSpec(
        "parakeet-standard", "parakeet", "standard", lambda: Unavailable("It is not here."), ScriptedEngine
    )
    begun, allowed = threading.Event(), threading.Event()

    def load() -> ScriptedEngine:
        begun.set()
        assert allowed.wait(20)
        return ScriptedEngine()

    small = ModelSpec("small", "small", "standard", lambda: None, load)
    app = build_app(Settings(), Registry([gone, small], "small"))
    async with app.router.lifespan_context(app), open_client(app) as client:
        try:
            assert await asyncio.to_thread(begun.wait, 20)
            waits_for = (await client.get("/readyz")).json()["waits_for"]
        finally:
            allowed.set()
        await app.state.context.readiness.settled.wait()
        assert (await client.get("/readyz")).json()["waits_for"] is None
    assert waits_for == "The model 'small' is being loaded."


async def test_applications_in_one_process_share_nothing(start_app: StartApp) -> None:
    one, other = await start_app(max_sessions=1), await start_app(max_sessions=1)
    async with MemorySocket(one) as socket, MemorySocket(other) as another:
        for each in (socket, another):
            each.send({"type": "ping"})
            assert await each.receive_frame() == {"type": "pong"}
        assert one.state.context.services.metrics.registry.get_sample_value("echoic_streams_total") == 1


async def test_there_is_a_schema_but_no_documentation_page(app: FastAPI) -> None:
    async with open_client(app) as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 200

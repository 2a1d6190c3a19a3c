"""Fixtures: running applications with the scripted recogniser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings

#: Starts an application: ``await start_app(registry, port=0, …)`` with settings by their flat names.
StartApp = Callable[..., Awaitable[FastAPI]]


@pytest.fixture
async def start_app() -> AsyncIterator[StartApp]:
    """Start applications with the scripted recogniser; all of them stop after the test."""
    async with AsyncExitStack() as stack:

        async def start(registry: Registry | None = None, **settings: object) -> FastAPI:
            given = {"scripted_engine": True, "preload_model": "scripted"} | settings
            app = build_app(Settings.model_validate(given), registry or _build_scripted_registry())
            await stack.enter_async_context(app.router.lifespan_context(app))
            await app.state.context.readiness.settled.wait()
            return app

        yield start


def _build_scripted_registry() -> Registry:
    """Build a registry with the scripted recogniser, also as the model of streams that name none."""
    names = ("scripted", "parakeet-standard")
    return Registry(
        (ModelSpec(name, name, "standard", lambda: None, ScriptedEngine) for name in names), "scripted"
    )


@pytest.fixture
async def app(start_app: StartApp) -> FastAPI:
    """An application with default settings."""
    return await start_app()

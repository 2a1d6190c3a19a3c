"""Fixtures: applications with the scripted recogniser."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastapi import FastAPI

    StartApp = Callable[..., Awaitable[FastAPI]]


@pytest.fixture
async def start_app() -> AsyncIterator[StartApp]:
    """Start applications with the scripted recogniser; all are stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(registry: Registry | None = None, **settings: object) -> FastAPI:
            given = {"scripted_engine": True, "preload_model": "scripted"} | settings
            app = build_app(Settings.model_validate(given), registry or _scripted())
            await stack.enter_async_context(app.router.lifespan_context(app))
            await app.state.context.readiness.settled.wait()
            return app

        yield start


def _scripted() -> Registry:
    """The scripted recogniser under its own name, and as the model that unconfigured streams ask for."""
    names = ("scripted", "parakeet-standard")
    return Registry(
        (ModelSpec(name, name, "standard", lambda: None, ScriptedEngine) for name in names), "scripted"
    )


@pytest.fixture
async def app(start_app: StartApp) -> FastAPI:
    """An application with all settings at their defaults."""
    return await start_app()

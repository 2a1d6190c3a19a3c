"""Runs applications with the scripted engine in memory, and streams in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.server.app import build_app
from echoic.server.settings.groups import Settings
from echoic.server.stream.services import StreamServices
from support.memory_socket import MemorySocket
from support.scripted_engines import BlockingHook

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
    """Start an application with default settings."""
    return await start_app()


CONFIG: dict[str, object] = {"type": "config", "model": "scripted"}
RESUMABLE_CONFIG: dict[str, object] = CONFIG | {"resumable": True, "enable_partial": False}


def build_model_spec(name: str, load: Callable[[], ScriptedEngine]) -> ModelSpec:
    """Return a model that is always available."""
    return ModelSpec(name, name, "standard", lambda: None, load)


def build_blocking_registry(hook: BlockingHook) -> Registry:
    """Return the scripted engine, which blocks at the word "alpha" until ``hook`` is opened."""
    load = lambda: ScriptedEngine(word_hooks={"alpha": hook})  # noqa: E731  # one expression
    return Registry([build_model_spec("scripted", load)], "scripted")


async def wait_until_blocked(hook: BlockingHook) -> None:
    """Wait until the engine is blocked."""
    assert await asyncio.to_thread(hook.reached.wait, 30)


async def start_resumable_stream(
    socket: MemorySocket, *messages: dict[str, object] | bytes
) -> dict[str, Any]:
    """Configure a resumable stream, send messages, wait until they were received; return the status."""
    socket.send(RESUMABLE_CONFIG)
    status = (await socket.receive_until("status"))[-1]
    for message in messages:
        socket.send(message)
    socket.send({"type": "ping"})
    await socket.receive_until("pong")
    return status


def get_services(app: FastAPI) -> StreamServices:
    """Return what the streams of an application share."""
    services: StreamServices = app.state.context.services
    return services


def read_metric(app: FastAPI, name: str, **labels: str) -> float:
    """Return the value of a metric; 0 if there is none."""
    return get_services(app).metrics.registry.get_sample_value(name, labels) or 0.0


async def wait_until_unread(socket: MemorySocket) -> None:
    """Wait until the application reads no more messages."""
    before = -1
    while before != socket.undelivered_count:
        before = socket.undelivered_count
        for _ in range(20):
            await asyncio.sleep(0)


def assert_all_released(app: FastAPI, *, tasks: int = 2) -> None:
    """Assert that no stream has left anything behind."""
    services = get_services(app)
    assert len(services.streams) == 0
    assert not services.engines._pending  # noqa: SLF001  # a leak shows nowhere else
    assert read_metric(app, "echoic_streams_active") == 0
    assert len(asyncio.all_tasks()) == tasks  # the test, and the task that renews leases

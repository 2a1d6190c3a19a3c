"""Builds the ASGI application: middleware, routes, and the tasks that run as long as it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import FastAPI

import echoic
from echoic.auth.network import AddressList
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import ModelRequest
from echoic.observability.logging import log_event
from echoic.protocol.constants import CORE_PATH, STREAM_PATH
from echoic.server.build import build_context, build_registry, build_tracing
from echoic.server.context import ServerContext
from echoic.server.middleware import AllowedAddressMiddleware, AllowedHostMiddleware
from echoic.server.routes import build_api_router
from echoic.server.settings.groups import Settings
from echoic.server.startup_checks import find_unmet_settings
from echoic.server.static import build_page_router

if TYPE_CHECKING:  # OpenTelemetry is optional
    from echoic.observability.tracing import Tracing

log = logging.getLogger(__name__)


def build_app(
    settings: Settings, registry: Registry | None = None, tracing: Tracing | None = None
) -> FastAPI:
    """Build the application. Several applications in one process share nothing.

    Args:
        settings: The server's settings.
        registry: The models that streams may ask for. None means all models of this version.
        tracing: Exports spans. If None, they go to the collector in the settings, if any.
    """
    context = build_context(
        settings, registry or build_registry(settings), tracing or build_tracing(settings.server)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.access.open_key_store():
            tasks = _start_tasks(context)
            yield
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await _close_context(context)

    # FastAPI's interactive documentation loads scripts from other servers, and its redirects of paths without
    # the last slash lead to whatever server the request's Host header names.
    app = FastAPI(
        title="echoic",
        version=echoic.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.include_router(build_api_router(context))
    app.include_router(build_page_router(context.access.authenticator.origins))
    _add_middleware(app, context)
    return app


def _add_middleware(app: FastAPI, context: ServerContext) -> None:
    """Add the middleware; the last one added sees a request first."""
    proxies, refusals = context.services.trusted_proxies, context.refusal_log
    if context.tracing is not None:
        middleware = import_module("echoic.observability.tracing").TracingMiddleware
        app.add_middleware(middleware, tracer=context.tracing.tracer, paths=(STREAM_PATH, CORE_PATH))
    hosts = context.access.allowed_hosts
    if hosts.names is not None:
        app.add_middleware(AllowedHostMiddleware, hosts=hosts, proxies=proxies, refusals=refusals)
    addresses = context.settings.auth.allowed_addresses
    if addresses is not None:
        allowed = AddressList.from_text(addresses)
        app.add_middleware(AllowedAddressMiddleware, allowed=allowed, proxies=proxies, refusals=refusals)


def _start_tasks(context: ServerContext) -> set[asyncio.Task[None]]:
    services = context.services
    tasks = {
        asyncio.create_task(_preload_model(context)),
        asyncio.create_task(context.ledger.run_renewals()),
    }
    if services.revocation_monitor is not None:
        tasks.add(asyncio.create_task(services.revocation_monitor.run_checks()))
    if services.addons.recordings is not None:
        tasks.add(asyncio.create_task(services.addons.recordings.run_sweeps()))
    return tasks


async def _close_context(context: ServerContext) -> None:
    await context.ledger.close()
    await context.services.addons.close()
    await context.services.engines.close()
    if context.tracing is not None:
        await asyncio.to_thread(context.tracing.close)


async def _preload_model(context: ServerContext) -> None:
    stt, readiness = context.settings.stt, context.readiness
    if not stt.preload_model:
        await _log_unmet_settings(context)
        readiness.mark_settled()
        return
    readiness.waits_for = f"The model {stt.preload_model!r} is being loaded."
    try:
        # As a client that never leaves, ``readiness`` keeps the model loaded: ``/readyz`` stays true.
        opened = await context.services.engines.open_model(
            ModelRequest(stt.preload_model, ""), fallback=stt.streaming_fallback, client=readiness
        )
    except ModelUnavailable as error:
        log_event(log, logging.ERROR, "model.unavailable", model=error.model, reason=error.reason)
        await _log_unmet_settings(context)
        readiness.mark_settled(error.message)
    else:
        log_event(log, logging.INFO, "model.ready", model=opened.name)
        await _log_unmet_settings(context, opened.name)
        readiness.model = opened.name
        readiness.mark_settled()


async def _log_unmet_settings(context: ServerContext, active_model: str | None = None) -> None:
    """Log the model settings that cannot be honoured, and keep them for the startup message."""
    unmet_settings = await asyncio.to_thread(
        find_unmet_settings, context.settings, context.registry, active_model
    )
    for unmet in unmet_settings:
        log_event(
            log,
            logging.WARNING,
            "setting.unmet",
            setting=unmet.setting,
            model=unmet.model,
            reason=unmet.reason,
        )
    context.readiness.unmet_settings = tuple(unmet.message for unmet in unmet_settings)

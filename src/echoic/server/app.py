"""The application: everything a server holds, and the routes that lead to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import FastAPI

import echoic
from echoic.auth.access import build_access_control
from echoic.auth.network import AddressList
from echoic.auth.revocation import RevocationMonitor
from echoic.engines.models import EngineSettings, build_standard_registry
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import ModelRequest
from echoic.observability.logging import log_event
from echoic.observability.metrics import EngineMetricsCollector, Metrics
from echoic.protocol.constants import CORE_PATH, STREAM_PATH
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.build import (
    build_add_on_services,
    build_quota_ledger,
    build_scripted_factory,
    build_silero_factory,
)
from echoic.server.context import ModelReadiness, ServerContext
from echoic.server.middleware import AllowedAddressMiddleware, AllowedHostMiddleware
from echoic.server.routes import build_api_router
from echoic.server.settings.groups import Settings
from echoic.server.startup_checks import find_unmet_settings
from echoic.server.static import build_page_router
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.connection import Connection
from echoic.server.stream.flow_control import ReadRates, TotalBacklog, WaterMarks
from echoic.server.stream.outbox import OutboxLimits
from echoic.server.stream.resume import ResumableSessions, ResumePolicy
from echoic.server.stream.services import StreamLimits, StreamServices
from echoic.server.vocabulary_files import ServerVocabulary

if TYPE_CHECKING:
    from echoic.observability.tracing import Tracing

log = logging.getLogger(__name__)


def build_app(
    settings: Settings, registry: Registry | None = None, tracing: Tracing | None = None
) -> FastAPI:
    """Return the application; several in one process share nothing.

    Args:
        settings: What it is told.
        registry: The models there are; None: all of this version.
        tracing: Where spans are sent; None: where the settings say.
    """
    context = _build_context(
        settings, registry or build_registry(settings), tracing or _build_tracing(settings)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.access.open_key_store():
            tasks = {
                asyncio.create_task(_preload_model(context)),
                asyncio.create_task(context.ledger.run_renewals()),
            }
            if context.services.revocation_monitor is not None:
                tasks.add(asyncio.create_task(context.services.revocation_monitor.run_checks()))
            addons = context.services.addons
            if addons.recordings is not None:
                tasks.add(asyncio.create_task(addons.recordings.run_sweeps()))
            yield
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await context.ledger.close()
            await addons.close()
            await context.services.engines.close()
            if context.tracing is not None:
                await asyncio.to_thread(context.tracing.close)

    # The interactive documentation would be loaded from other people's servers, and a redirect to the path
    # without its last slash would lead to whatever server the request's Host names.
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
    if context.tracing is not None:
        middleware = import_module("echoic.observability.tracing").TracingMiddleware
        app.add_middleware(middleware, tracer=context.tracing.tracer, paths=(STREAM_PATH, CORE_PATH))
    if context.access.allowed_hosts.names is not None:
        app.add_middleware(
            AllowedHostMiddleware,
            hosts=context.access.allowed_hosts,
            proxies=context.services.trusted_proxies,
            refusals=context.refusal_log,
        )
    if settings.allowed_addresses is not None:
        allowed = AddressList.from_text(settings.allowed_addresses)
        app.add_middleware(
            AllowedAddressMiddleware,
            allowed=allowed,
            proxies=context.services.trusted_proxies,
            refusals=context.refusal_log,
        )
    return app


def build_registry(settings: Settings) -> Registry:
    """Return the models of this version, found where the settings say."""
    return build_standard_registry(build_engine_settings(settings), include_scripted=settings.scripted_engine)


def build_engine_settings(settings: Settings) -> EngineSettings:
    """Return what the settings say about models."""
    return EngineSettings(
        models_dir=settings.models_dir,
        parakeet_onnx_dir=settings.parakeet_onnx_dir,
        parakeet_nemo_file=settings.parakeet_nemo_file,
        parakeet_mlx_dir=settings.parakeet_mlx_dir,
        whisper_model=settings.whisper_model,
        left_context=settings.parakeet_left_context,
        right_context=settings.parakeet_right_context,
        max_batch_size=settings.parakeet_lanes,
        max_concurrency=settings.worker_threads,
        cores=settings.decode_cores,
        quantization=settings.parakeet_quantization,
        onnx_provider=settings.onnx_provider,
        device=settings.device,
        whisper_stands_in=settings.streaming_fallback_to_whisper,
    )


def _build_tracing(settings: Settings) -> Tracing | None:
    if settings.traces_endpoint is None:
        return None
    traces: Tracing = import_module("echoic.observability.tracing").build_tracing(
        settings.traces_endpoint, settings.traces_share
    )
    return traces


def _build_context(settings: Settings, registry: Registry, tracing: Tracing | None) -> ServerContext:
    engines = EnginePool(
        registry,
        max_concurrency=settings.worker_threads,
        idle_seconds=settings.model_idle_seconds,
        hang_seconds=settings.decode_timeout_seconds,
    )
    if tracing is not None:
        engines.observer = tracing.build_decode_observer(_get_stream_name)
    metrics = Metrics()
    desk = build_quota_ledger(settings, metrics, None if tracing is None else tracing.build_quota_observer())
    waters = TotalBacklog(settings.total_backlog_marks)
    streams = StreamAdmission(settings.max_sessions, waters, settings.retry_after_seconds)
    metrics.active_streams.set_function(lambda: len(streams))
    metrics.backlog_seconds.set_function(lambda: waters.seconds)
    metrics.streams_behind.set_function(lambda: streams.behind_count)
    metrics.is_full.set_function(lambda: streams.is_full)
    metrics.add_collector(EngineMetricsCollector(engines))
    entrance = build_access_control(settings, settings.host, metrics.count_credential)
    bounds = OutboxLimits(
        settings.send_queue_frames, settings.send_queue_bytes, settings.send_timeout_seconds
    )
    limits = StreamLimits(
        backlog=settings.backlog_marks,
        idle_seconds=settings.idle_timeout_seconds,
        max_seconds=settings.max_stream_seconds,
        outbox=bounds,
        rates=ReadRates(settings.max_messages_per_second, settings.max_audio_rate),
        lag_marks=WaterMarks(settings.falling_behind_seconds, settings.falling_behind_seconds / 2),
    )
    kept = ResumableSessions(
        ResumePolicy(settings.resume_seconds, settings.resume_sessions, settings.resume_bytes)
    )
    metrics.waiting_streams.set_function(lambda: kept.waiting_count)
    return ServerContext(
        settings=settings,
        registry=registry,
        access=entrance,
        services=StreamServices(
            engines,
            metrics,
            limits,
            streams,
            addons=build_add_on_services(settings),
            total_backlog=waters,
            build_vad=build_scripted_factory() if settings.scripted_engine else build_silero_factory(),
            revocation_monitor=RevocationMonitor(entrance.key_store)
            if entrance.key_store is not None
            else None,
            trusted_proxies=AddressList.from_text(settings.trusted_proxies or ""),
            resumable_sessions=kept,
            vocabulary=ServerVocabulary(
                settings.custom_vocab_terms_file,
                settings.custom_vocab_replacements_file,
                settings.vocabulary_policy,
            ),
        ),
        readiness=ModelReadiness(),
        ledger=desk,
        tracing=tracing,
    )


def _get_stream_name(client: Hashable) -> str | None:
    return client.name if isinstance(client, Connection) else None


async def _preload_model(context: ServerContext) -> None:
    settings, ready = context.settings, context.readiness
    if not settings.preload_model:
        await _log_unmet_settings(context)
        ready.mark_settled()
        return
    ready.waits_for = f"The model {settings.preload_model!r} is being looked for."
    request = ModelRequest(settings.preload_model, "")
    try:
        # ``context.readiness`` keeps the model open, so that it is never unloaded: ``/readyz`` stays true.
        answer = await context.services.engines.open_model(
            request, fallback=settings.streaming_fallback, client=context.readiness
        )
    except ModelUnavailable as error:
        log_event(log, logging.ERROR, "model.unavailable", model=error.model, reason=error.reason)
        await _log_unmet_settings(context)
        ready.mark_settled(error.message)
    else:
        log_event(log, logging.INFO, "model.ready", model=answer.name)
        await _log_unmet_settings(context, answer.name)
        ready.model = answer.name
        ready.mark_settled()


async def _log_unmet_settings(context: ServerContext, active_model: str | None = None) -> None:
    """Log the settings of models that were made and cannot be met, and keep them for the greeting."""
    found = await asyncio.to_thread(find_unmet_settings, context.settings, context.registry, active_model)
    for one in found:
        log_event(
            log, logging.WARNING, "setting.unmet", setting=one.setting, model=one.model, reason=one.reason
        )
    context.readiness.unmet_settings = tuple(one.message for one in found)

"""The application: everything a server holds, and the routes that lead to it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import FastAPI

import echoic
from echoic.engines.seats import Wishes, standard_registry
from echoic.errors import ModelUnavailable
from echoic.limits.addresses import Networks
from echoic.schedule.pool import Engines
from echoic.server.beside import shared_of
from echoic.server.endpoint import Service
from echoic.server.entrance import Entrance, entrance_of
from echoic.server.kept import Grace, Kept
from echoic.server.load import EngineLoad
from echoic.server.log import event
from echoic.server.marks import Marks, Waters
from echoic.server.means import Limits, Means, Rates
from echoic.server.metrics import Metrics
from echoic.server.nameplate import Nameplate
from echoic.server.neighbours import Neighbours
from echoic.server.outbox import Bounds
from echoic.server.page import page_router
from echoic.server.quotas import desk_of
from echoic.server.refused import Refusals
from echoic.server.routes import STREAM_PATH, api_router
from echoic.server.streams import Streams
from echoic.server.unmet import unmet
from echoic.server.vocabulary import HouseVocabulary
from echoic.server.voice import loudness, silero
from echoic.server.watch import KeyWatch
from echoic.session.effects import ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from echoic.engines.registry import Registry
    from echoic.limits.desk import Desk
    from echoic.server.settings import Settings
    from echoic.server.traces import Traces

log = logging.getLogger(__name__)


class Readiness:
    """Whether the model that streams get by default can transcribe."""

    def __init__(self) -> None:
        #: What is waited for, or why it failed, in a sentence; None: ready.
        self.waits_for: str | None = "The server is starting."
        #: The id of the model that streams get by default, once it is loaded.
        self.model: str | None = None
        #: Set when the default model is loaded, or will not be.
        self.settled = asyncio.Event()
        #: Sentences about settings of models that cannot be met.
        self.unmet: tuple[str, ...] = ()

    def settle(self, problem: str | None = None) -> None:
        """Note that it is ready, or why it will not be."""
        self.waits_for = problem
        self.settled.set()


@dataclass(frozen=True, slots=True)
class House:
    """Everything that one server holds; ``app.state.house``.

    Attributes:
        settings: What it was told.
        registry: The models there are.
        entrance: Who may.
        service: What its streams share.
        ready: Whether it can transcribe.
        desk: Where streams are counted.
        traces: Where spans are sent, or None: nowhere.
        refusals: Where requests that are refused are noted.
    """

    settings: Settings
    registry: Registry
    entrance: Entrance
    service: Service
    ready: Readiness
    desk: Desk
    traces: Traces | None = None
    refusals: Refusals = field(default_factory=Refusals)


def build_app(settings: Settings, registry: Registry | None = None, traces: Traces | None = None) -> FastAPI:
    """Return the application; several in one process share nothing.

    Args:
        settings: What it is told.
        registry: The models there are; None: all of this version.
        traces: Where spans are sent; None: where the settings say.
    """
    house = _furnish(settings, registry or models_of(settings), traces or _traces_of(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with house.entrance.open():
            tasks = {asyncio.create_task(_preload(house)), asyncio.create_task(house.desk.run())}
            if house.service.watch is not None:
                tasks.add(asyncio.create_task(house.service.watch.run()))
            addons = house.service.means.addons
            if addons.recordings is not None:
                tasks.add(asyncio.create_task(addons.recordings.run()))
            yield
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await house.desk.close()
            await addons.close()
            await house.service.means.engines.close()
            if house.traces is not None:
                await asyncio.to_thread(house.traces.close)

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
    app.state.house = house
    app.include_router(api_router(house))
    app.include_router(page_router(house.entrance.guard.origins))
    if house.traces is not None:
        traced = import_module("echoic.server.traces")
        paths = traced.endpoints(STREAM_PATH)
        app.add_middleware(traced.TracedStreams, tracer=house.traces.tracer, paths=paths)
    if house.entrance.hosts.names is not None:
        app.add_middleware(
            Nameplate, hosts=house.entrance.hosts, proxies=house.service.proxies, refusals=house.refusals
        )
    if settings.allowed_addresses is not None:
        allowed = Networks.parse(settings.allowed_addresses)
        app.add_middleware(
            Neighbours, allowed=allowed, proxies=house.service.proxies, refusals=house.refusals
        )
    return app


def models_of(settings: Settings) -> Registry:
    """Return the models of this version, found where the settings say."""
    return standard_registry(wishes_of(settings), scripted=settings.scripted_engine)


def wishes_of(settings: Settings) -> Wishes:
    """Return what the settings say about models."""
    return Wishes(
        models_dir=settings.models_dir,
        parakeet_onnx_dir=settings.parakeet_onnx_dir,
        parakeet_nemo_file=settings.parakeet_nemo_file,
        parakeet_mlx_dir=settings.parakeet_mlx_dir,
        whisper_model=settings.whisper_model,
        left_context=settings.parakeet_left_context,
        right_context=settings.parakeet_right_context,
        lanes=settings.parakeet_lanes,
        threads=settings.worker_threads,
        cores=settings.decode_cores,
        quantization=settings.parakeet_quantization,
        onnx_provider=settings.onnx_provider,
        device=settings.device,
        whisper_stands_in=settings.streaming_fallback_to_whisper,
    )


def _traces_of(settings: Settings) -> Traces | None:
    if settings.traces_endpoint is None:
        return None
    traces: Traces = import_module("echoic.server.traces").traces_to(
        settings.traces_endpoint, settings.traces_share
    )
    return traces


def _furnish(settings: Settings, registry: Registry, traces: Traces | None) -> House:
    made = Engines if traces is None else traces.engines
    engines = made(
        registry,
        threads=settings.worker_threads,
        idle=settings.model_idle_seconds,
        hung=settings.decode_timeout_seconds,
    )
    metrics = Metrics()
    desk = desk_of(settings, metrics)
    if traces is not None and settings.redis_url is not None:
        traces.follow_quotas(desk)
    waters = Waters(settings.total_marks)
    streams = Streams(settings.max_sessions, waters, settings.retry_after_seconds)
    metrics.active.set_function(lambda: len(streams))
    metrics.backlog.set_function(lambda: waters.seconds)
    metrics.behind.set_function(lambda: streams.behind)
    metrics.full.set_function(lambda: streams.full)
    metrics.add(EngineLoad(engines))
    entrance = entrance_of(settings, metrics.credential)
    bounds = Bounds(settings.send_queue_frames, settings.send_queue_bytes, settings.send_timeout_seconds)
    limits = Limits(
        backlog=settings.backlog_marks,
        idle=settings.idle_timeout_seconds,
        longest=settings.max_stream_seconds,
        outbox=bounds,
        rates=Rates(settings.max_messages_per_second, settings.max_audio_rate),
        behind=Marks(settings.falling_behind_seconds, settings.falling_behind_seconds / 2),
    )
    kept = Kept(Grace(settings.resume_seconds, settings.resume_sessions, settings.resume_bytes))
    metrics.waiting.set_function(lambda: kept.waiting)
    return House(
        settings=settings,
        registry=registry,
        entrance=entrance,
        service=Service(
            Means(engines, metrics, limits, shared_of(settings), waters=waters),
            streams,
            loudness() if settings.scripted_engine else silero(),
            KeyWatch(entrance.store) if entrance.store is not None else None,
            Networks.parse(settings.trusted_proxies or ""),
            kept,
            HouseVocabulary(
                settings.custom_vocab_terms_file,
                settings.custom_vocab_replacements_file,
                settings.vocabulary_style,
            ),
        ),
        ready=Readiness(),
        desk=desk,
        traces=traces,
    )


async def _preload(house: House) -> None:
    settings, ready = house.settings, house.ready
    if not settings.preload_model:
        await _note_unmet(house)
        ready.settle()
        return
    ready.waits_for = f"The model {settings.preload_model!r} is being looked for."
    request = ModelRequest(settings.preload_model, "")
    try:
        # The house keeps it: what ``/readyz`` promised stays true.
        answer = await house.service.means.engines.open(
            request, fallback=settings.streaming_fallback, client=house.ready
        )
    except ModelUnavailable as error:
        event(log, logging.ERROR, "model.unavailable", model=error.model, reason=error.reason)
        await _note_unmet(house)
        ready.settle(error.message)
    else:
        event(log, logging.INFO, "model.ready", model=answer.name)
        await _note_unmet(house, answer.name)
        ready.model = answer.name
        ready.settle()


async def _note_unmet(house: House, active: str | None = None) -> None:
    """Log the settings of models that were made and cannot be met, and keep them for the greeting."""
    found = await asyncio.to_thread(unmet, house.settings, house.registry, active)
    for one in found:
        event(log, logging.WARNING, "setting.unmet", setting=one.setting, model=one.model, reason=one.reason)
    house.ready.unmet = tuple(one.sentence for one in found)

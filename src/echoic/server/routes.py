"""What a server answers: the streams, and what it says about itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute

from echoic.errors import AccessRefused, ErrorCode, without_folders
from echoic.limits.identity import Right
from echoic.server.answers import (
    Life,
    Readiness,
    Status,
    UserLimits,
    refusals,
    refusals_of_text,
    refused,
    ways_to_ask,
)
from echoic.server.core_router import CORE_PATH
from echoic.server.endpoint import StreamEndpoint
from echoic.server.guard import Guard
from echoic.server.metrics import CONTENT_TYPE
from echoic.server.neighbours import address_of
from echoic.server.quotas import limits_body
from echoic.session.insight_wishes import InsightWishes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from echoic.engines.registry import ModelStatus
    from echoic.errors import Missing
    from echoic.limits.identity import Identity
    from echoic.server.app import House
    from echoic.server.endpoint import Service
    from echoic.session.config import Offers

STREAM_PATH: Final = "/api/v1/audio/stream/transcribe"
STATUS_PATH: Final = "/api/v1/audio/stream/status"
LIMITS_PATH: Final = "/api/v1/audio/stream/limits"

#: What every server of this version does, whichever models there are.
FEATURES: Final = {
    "partial_results": True,
    "segment_metadata": True,
    "concurrent_streams": True,
    "binary_audio": True,
    "custom_vocabulary": True,
}


def api_router(house: House) -> APIRouter:
    """Return the routes of a server.

    Args:
        house: What it holds.
    """
    router = APIRouter()
    router.routes.extend(_streams(house))
    _describe(router, house)
    _watch(router, house)
    return router


def _streams(house: House) -> list[WebSocketRoute]:
    def service() -> Service:
        return house.service

    unified = StreamEndpoint(
        service, house.entrance.guard, fallback=house.settings.streaming_fallback, desk=house.desk
    )
    routes = [WebSocketRoute(STREAM_PATH, unified, name="stream")]
    if house.settings.serves_core:
        pages_only = Guard(origins=house.entrance.guard.origins)
        routes.append(WebSocketRoute(CORE_PATH, StreamEndpoint(service, pages_only), name="core_stream"))
    return routes


def _describe(router: APIRouter, house: House) -> None:
    guard, asks = house.entrance.guard, house.settings.status_needs_key

    @router.get(STATUS_PATH, response_model=Status, **_told(guard if asks else None))
    async def status(request: Request) -> object:
        """Tell which models there are, and what the streams can do."""
        if asks and (refusal := await _refusal(guard, house, request, None)) is not None:
            return refusal
        engines = house.service.means.engines
        found = await run_in_threadpool(house.registry.describe)
        models, loaded = _without(found, engines.given_up), engines.loaded
        available = [model.id for model in models if model.available]
        return {
            "status": "available" if available else "unavailable",
            "available_models": available,
            "websocket_endpoint": STREAM_PATH,
            "supported_features": _features(models, house.service.means.addons.offers),
            "models": [_row(model, loaded=model.id in loaded) for model in models],
            "add_ons": _add_ons(house.service.means.addons.offers),
        }

    @router.get(LIMITS_PATH, response_model=UserLimits, **_told(guard if guard.asks else None))
    async def limits(request: Request) -> object:
        """Tell a user what is allowed, and what of it is used."""
        try:
            identity = await _caller(guard, house, request, Right.READ)
        except AccessRefused as refusal:
            return refused(refusal)
        standing = await house.desk.standing(identity)
        return limits_body(identity, standing, house.service.streams)


def _features(models: Iterable[ModelStatus], offers: Offers) -> dict[str, bool]:
    timed = any(model.available and model.word_timestamps for model in models)
    add_ons = {name: bool(one["available"]) for name, one in _add_ons(offers).items()}
    return FEATURES | {"word_timestamps": timed} | add_ons


def _without(models: Iterable[ModelStatus], given_up: Mapping[str, str]) -> list[ModelStatus]:
    """Return the models, those that were given up as what they are: not available."""
    return [
        replace(model, available=False, reason=given_up[model.id]) if model.id in given_up else model
        for model in models
    ]


def _add_ons(offers: Offers) -> dict[str, dict[str, object]]:
    offered = {
        "live_insights": offers.insights(InsightWishes()),
        "speaker_diarization": offers.diarization,
        "audio_persistence": offers.storage,
    }
    return {name: _add_on(missing) for name, missing in offered.items()}


def _add_on(missing: Missing | None) -> dict[str, object]:
    if missing is None:
        return {"available": True, "reason": None, "install": None}
    return {"available": False, "reason": without_folders(missing.reason), "install": missing.install}


def _row(model: ModelStatus, *, loaded: bool) -> dict[str, object]:
    reason = model.reason and without_folders(model.reason)
    return asdict(model) | {"reason": reason, "loaded": loaded}


def _told(guard: Guard | None) -> dict[str, Any]:
    """Return what the schema says about who may ask; None: everyone."""
    asks = guard is not None and guard.asks
    query = guard is not None and guard.allow_query
    return {"responses": refusals(asks=asks), "dependencies": ways_to_ask(asks=asks, query=query)}


async def _caller(guard: Guard, house: House, request: Request, right: Right | None) -> Identity:
    address = address_of(request.scope, house.service.proxies)
    try:
        identity = await guard.admits(request.scope, right, address)
        if identity is None:
            raise AccessRefused(ErrorCode.UNAUTHORIZED, "This server needs an API key.")  # noqa: TRY301  # noted like the others
    except AccessRefused as refusal:
        house.refusals.note(refusal.code, address)
        raise
    return identity


async def _refusal(guard: Guard, house: House, request: Request, right: Right | None) -> Response | None:
    try:
        await _caller(guard, house, request, right)
    except AccessRefused as refusal:
        return refused(refusal)
    return None


async def _waits_for(house: House) -> str | None:
    """Return what is waited for: the default model (or what is loaded in its stead), or the stores."""
    if house.service.streams.draining:
        return "The server is about to stop."
    engines, default = house.service.means.engines, house.ready.model
    if default is not None and default in engines.given_up:
        return f"The model {default!r}: {engines.given_up[default]}"
    loading = engines.loading
    if loading and not house.ready.settled.is_set():
        return f"The model {loading[0]!r} is being loaded."
    if house.desk.is_away and house.settings.needs_quotas:
        return "The store of quotas cannot be reached."
    return house.ready.waits_for or await house.entrance.waits_for()


def _watch(router: APIRouter, house: House) -> None:
    @router.get("/healthz", response_model=Life, responses=refusals(asks=False))
    async def healthz() -> object:
        """Tell that the process lives."""
        return {"status": "alive"}

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": Readiness, "description": "Not ready: ``waits_for`` says why."}
    }

    @router.get("/readyz", response_model=Readiness, responses=refusals(asks=False) | not_ready)
    async def readyz(response: Response) -> object:
        """Tell whether streams can be served."""
        waits_for, is_away = await _waits_for(house), house.desk.is_away
        response.status_code = 200 if waits_for is None else 503
        return {
            "status": "not ready" if waits_for is not None else "degraded" if is_away else "ready",
            "waits_for": waits_for,
            "models": list(house.service.means.engines.loaded),
            "quota_store": "away" if is_away else "reachable",
            "full": house.service.streams.full,
        }

    guard = house.entrance.scraper
    told = _told(guard) | {"responses": refusals_of_text(asks=guard.asks)}

    @router.get("/metrics", response_class=PlainTextResponse, **told)
    async def metrics(request: Request) -> Response:
        """Tell what is counted, for Prometheus."""
        if (refusal := await _refusal(guard, house, request, None)) is not None:
            return refusal
        return Response(house.service.means.metrics.text(), media_type=CONTENT_TYPE)

"""What a server answers: the streams, and what it says about itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import WebSocketRoute

from echoic.errors import AccessRefused, ErrorCode, without_folders
from echoic.limits.identity import Right
from echoic.server.core_router import CORE_PATH
from echoic.server.endpoint import StreamEndpoint
from echoic.server.guard import Guard
from echoic.server.metrics import CONTENT_TYPE
from echoic.server.neighbours import address_of
from echoic.server.quotas import limits_body

if TYPE_CHECKING:
    from echoic.engines.registry import ModelStatus
    from echoic.limits.identity import Identity
    from echoic.server.app import House
    from echoic.server.endpoint import Service

STREAM_PATH: Final = "/api/v1/audio/stream/transcribe"
STATUS_PATH: Final = "/api/v1/audio/stream/status"
LIMITS_PATH: Final = "/api/v1/audio/stream/limits"

_HTTP_STATUS: Final = {ErrorCode.UNAUTHORIZED: 401, ErrorCode.FORBIDDEN: 403}

#: What this version does and does not do, whichever models there are.
FEATURES: Final = {
    "partial_results": True,
    "segment_metadata": True,
    "concurrent_streams": True,
    "binary_audio": True,
    "custom_vocabulary": False,
    "live_insights": False,
    "speaker_diarization": False,
    "audio_persistence": False,
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
    @router.get(STATUS_PATH)
    def status() -> dict[str, object]:
        models = house.registry.describe()
        loaded = house.service.means.engines.loaded
        available = [model.id for model in models if model.available]
        return {
            "status": "available" if available else "unavailable",
            "available_models": available,
            "websocket_endpoint": STREAM_PATH,
            "supported_features": FEATURES
            | {"word_timestamps": any(model.available and model.word_timestamps for model in models)},
            "models": [_row(model, loaded=model.id in loaded) for model in models],
        }

    @router.get(LIMITS_PATH)
    async def limits(request: Request) -> JSONResponse:
        try:
            identity = await _caller(house, request)
        except AccessRefused as refusal:
            return _refused(refusal)
        standing = await house.desk.standing(identity)
        return JSONResponse(limits_body(identity, standing, house.service.streams))


def _row(model: ModelStatus, *, loaded: bool) -> dict[str, object]:
    reason = model.reason and without_folders(model.reason)
    return asdict(model) | {"reason": reason, "loaded": loaded}


async def _caller(house: House, request: Request) -> Identity:
    address = address_of(request.scope, house.service.proxies)
    identity = await house.entrance.guard.admits(request.scope, Right.READ, address)
    if identity is None:
        raise AccessRefused(ErrorCode.UNAUTHORIZED, "This server needs an API key.")
    return identity


def _refused(refusal: AccessRefused) -> JSONResponse:
    body = {"type": "error", "code": refusal.code, "message": refusal.message} | refusal.detail
    wait = refusal.detail.get("retry_after")
    if wait is not None:
        return JSONResponse(body, 429, {"Retry-After": str(wait)})
    headers = {"WWW-Authenticate": "Bearer"} if refusal.code is ErrorCode.UNAUTHORIZED else None
    return JSONResponse(body, _HTTP_STATUS.get(refusal.code, 503), headers)


async def _waits_for(house: House) -> str | None:
    """Return what is waited for: the default model (while one is being loaded, that one), or the keys."""
    loading = house.service.means.engines.loading
    if loading and not house.ready.settled.is_set():
        return f"The model {loading[0]!r} is being loaded."
    return house.ready.waits_for or await house.entrance.waits_for()


def _watch(router: APIRouter, house: House) -> None:
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        streams = house.service.streams
        waits_for = "The server is about to stop." if streams.draining else await _waits_for(house)
        response.status_code = 200 if waits_for is None else 503
        return {
            "status": "ready" if waits_for is None else "not ready",
            "waits_for": waits_for,
            "models": list(house.service.means.engines.loaded),
            "quota_store": "away" if house.desk.is_away else "reachable",
        }

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(house.service.means.metrics.text(), media_type=CONTENT_TYPE)

"""What a server answers: the streams, and what it says about itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.routing import WebSocketRoute

from echoic.errors import AccessRefused, ErrorCode
from echoic.server.core_router import CORE_PATH
from echoic.server.endpoint import StreamEndpoint
from echoic.server.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from echoic.server.app import House
    from echoic.server.endpoint import Service

STREAM_PATH: Final = "/api/v1/audio/stream/transcribe"
STATUS_PATH: Final = "/api/v1/audio/stream/status"
LIMITS_PATH: Final = "/api/v1/audio/stream/limits"

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

    unified = StreamEndpoint(service, house.guard, fallback=house.settings.streaming_fallback)
    routes = [WebSocketRoute(STREAM_PATH, unified, name="stream")]
    if house.settings.serves_core:
        routes.append(WebSocketRoute(CORE_PATH, StreamEndpoint(service), name="core_stream"))
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
            "models": [asdict(model) | {"loaded": model.id in loaded} for model in models],
        }

    @router.get(LIMITS_PATH)
    def limits(request: Request) -> JSONResponse:
        refusal = _refusal(house, request)
        if refusal is not None:
            return refusal
        streams = house.service.streams
        return JSONResponse(
            {
                "tier": "local" if house.guard.digest is None else "single-key",
                "limits": {"daily_minutes": None, "concurrent_streams": None},
                "used_today_minutes": None,
                "remaining_minutes": None,
                "active_streams": len(streams),
                "server_max_streams": streams.most,
                "can_start_stream": not streams.draining and len(streams) < streams.most,
            }
        )


def _refusal(house: House, request: Request) -> JSONResponse | None:
    message = "This server needs an API key."
    try:
        if house.guard.admits(request.scope["headers"], request.scope["query_string"]):
            return None
    except AccessRefused as error:
        message = error.message
    body = {"type": "error", "code": ErrorCode.UNAUTHORIZED, "message": message}
    return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})


def _waits_for(house: House) -> str | None:
    """Return what the default model waits for; while one is being loaded, that one by its name."""
    loading = house.service.means.engines.loading
    if loading and not house.ready.settled.is_set():
        return f"The model {loading[0]!r} is being loaded."
    return house.ready.waits_for


def _watch(router: APIRouter, house: House) -> None:
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        streams = house.service.streams
        waits_for = "The server is about to stop." if streams.draining else _waits_for(house)
        response.status_code = 200 if waits_for is None else 503
        return {
            "status": "ready" if waits_for is None else "not ready",
            "waits_for": waits_for,
            "models": list(house.service.means.engines.loaded),
        }

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(house.service.means.metrics.text(), media_type=CONTENT_TYPE)

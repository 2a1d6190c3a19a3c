"""HTTP and WebSocket routes: the stream endpoints, status, limits, health and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute

from echoic.auth.authenticator import Authenticator
from echoic.auth.identity import Identity, Scope
from echoic.engines.registry import ModelStatus
from echoic.errors import AccessRefused, ErrorCode, Unavailable, strip_folders
from echoic.observability.metrics import CONTENT_TYPE
from echoic.protocol.constants import CORE_PATH, LIMITS_PATH, STATUS_PATH, STREAM_PATH
from echoic.quotas.ledger import QuotaStatus
from echoic.quotas.model import to_minutes
from echoic.server.context import ServerContext
from echoic.server.middleware import find_request_address
from echoic.server.schemas import (
    HealthResponse,
    ReadinessResponse,
    StatusResponse,
    UserLimitsResponse,
    build_key_dependencies,
    build_refusal_schemas,
    build_text_refusal_schemas,
    render_refusal,
)
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.endpoint import StreamEndpoint
from echoic.server.stream.services import StreamServices
from echoic.session.config import Capabilities, InsightOptions

#: Features of every server of this version, whatever its models.
FEATURES: Final = {
    "partial_results": True,
    "segment_metadata": True,
    "concurrent_streams": True,
    "binary_audio": True,
    "custom_vocabulary": True,
}


def build_api_router(context: ServerContext) -> APIRouter:
    """Build the routes of a server."""
    router = APIRouter()
    router.routes.extend(_build_stream_routes(context))
    _add_status_routes(router, context)
    _add_health_routes(router, context)
    return router


def _build_stream_routes(context: ServerContext) -> list[WebSocketRoute]:
    def get_services() -> StreamServices:
        return context.services

    unified = StreamEndpoint(
        get_services,
        context.access.authenticator,
        fallback=context.settings.stt.streaming_fallback,
        ledger=context.ledger,
    )
    routes = [WebSocketRoute(STREAM_PATH, unified, name="stream")]
    if context.settings.is_core_served:
        pages_only = Authenticator(origins=context.access.authenticator.origins)
        routes.append(WebSocketRoute(CORE_PATH, StreamEndpoint(get_services, pages_only), name="core_stream"))
    return routes


def _add_status_routes(router: APIRouter, context: ServerContext) -> None:
    authenticator, needs_key = context.access.authenticator, context.settings.auth.status_needs_key

    @router.get(
        STATUS_PATH, response_model=StatusResponse, **_build_auth_schema(authenticator if needs_key else None)
    )
    async def status(request: Request) -> object:
        """List the models and the features of the streams."""
        if needs_key and (refusal := await _find_refusal(authenticator, context, request, None)) is not None:
            return refusal
        engines = context.services.engines
        found = await run_in_threadpool(context.registry.describe_models)
        models, loaded = _mark_unavailable(found, engines.unavailable_models), engines.loaded_models
        available = [model.id for model in models if model.available]
        return {
            "status": "available" if available else "unavailable",
            "available_models": available,
            "websocket_endpoint": STREAM_PATH,
            "supported_features": _list_features(models, context.services.addons.capabilities),
            "models": [_describe_model(model, loaded=model.id in loaded) for model in models],
            "add_ons": _describe_add_ons(context.services.addons.capabilities),
        }

    @router.get(
        LIMITS_PATH,
        response_model=UserLimitsResponse,
        **_build_auth_schema(authenticator if authenticator.is_auth_required else None),
    )
    async def limits(request: Request) -> object:
        """Return the limits of the user, and what is used of them."""
        try:
            identity = await _authenticate_request(authenticator, context, request, Scope.READ)
        except AccessRefused as refusal:
            return render_refusal(refusal)
        quota = await context.ledger.inspect_status(identity.user, identity.tier)
        return _build_limits_body(identity, quota, context.services.streams)


def _build_limits_body(
    identity: Identity, status: QuotaStatus, streams: StreamAdmission
) -> dict[str, object]:
    daily, used = status.tier_limits.daily_microseconds, status.used_microseconds
    remaining = None if daily is None or used is None else to_minutes(max(0, daily - used))
    has_room = not streams.is_draining and not streams.is_full
    return {
        "tier": identity.tier,
        "limits": {
            "daily_minutes": None if daily is None else to_minutes(daily),
            "concurrent_streams": status.tier_limits.max_streams,
        },
        "used_today_minutes": None if used is None else to_minutes(used),
        "remaining_minutes": remaining,
        "active_streams": status.active_streams,
        "server_max_streams": streams.max_streams,
        "can_start_stream": status.can_open_stream and has_room,
    }


def _list_features(models: Iterable[ModelStatus], capabilities: Capabilities) -> dict[str, bool]:
    timed = any(model.available and model.word_timestamps for model in models)
    add_ons = {name: bool(one["available"]) for name, one in _describe_add_ons(capabilities).items()}
    return FEATURES | {"word_timestamps": timed} | add_ons


def _mark_unavailable(models: Iterable[ModelStatus], reasons: Mapping[str, str]) -> list[ModelStatus]:
    """Return the models, with those that stopped answering marked as unavailable."""
    return [
        replace(model, available=False, reason=reasons[model.id]) if model.id in reasons else model
        for model in models
    ]


def _describe_add_ons(capabilities: Capabilities) -> dict[str, dict[str, object]]:
    offered = {
        "live_insights": capabilities.insights(InsightOptions()),
        "speaker_diarization": capabilities.diarization,
        "audio_persistence": capabilities.storage,
    }
    return {name: _describe_add_on(missing) for name, missing in offered.items()}


def _describe_add_on(missing: Unavailable | None) -> dict[str, object]:
    if missing is None:
        return {"available": True, "reason": None, "install": None}
    return {"available": False, "reason": strip_folders(missing.reason), "install": missing.install}


def _describe_model(model: ModelStatus, *, loaded: bool) -> dict[str, object]:
    reason = model.reason and strip_folders(model.reason)
    return asdict(model) | {"reason": reason, "loaded": loaded}


def _build_auth_schema(authenticator: Authenticator | None) -> dict[str, Any]:
    """Return the OpenAPI description of an endpoint's authentication, or None if it needs none."""
    needs_key = authenticator is not None and authenticator.is_auth_required
    query = authenticator is not None and authenticator.allow_query_token
    return {
        "responses": build_refusal_schemas(requires_key=needs_key),
        "dependencies": build_key_dependencies(requires_key=needs_key, allow_query=query),
    }


async def _authenticate_request(
    authenticator: Authenticator, context: ServerContext, request: Request, scope: Scope | None
) -> Identity:
    address = find_request_address(request.scope, context.services.trusted_proxies)
    try:
        identity = await authenticator.authenticate_request(request.scope, scope, address)
        if identity is None:
            message = "This server needs an API key."
            raise AccessRefused(ErrorCode.UNAUTHORIZED, message)  # noqa: TRY301  # logged like the others
    except AccessRefused as refusal:
        context.refusal_log.log_refusal(refusal.code, address)
        raise
    return identity


async def _find_refusal(
    authenticator: Authenticator, context: ServerContext, request: Request, scope: Scope | None
) -> Response | None:
    try:
        await _authenticate_request(authenticator, context, request, scope)
    except AccessRefused as refusal:
        return render_refusal(refusal)
    return None


async def _find_unready_reason(context: ServerContext) -> str | None:
    """Return why streams cannot be served now, as a sentence, or None if they can."""
    if context.services.streams.is_draining:
        return "The server is shutting down."
    engines, default = context.services.engines, context.readiness.model
    if default is not None and default in engines.unavailable_models:
        return f"The model {default!r}: {engines.unavailable_models[default]}"
    loading = engines.loading_models
    if loading and not context.readiness.settled.is_set():
        return f"The model {loading[0]!r} is being loaded."
    if context.ledger.is_store_unavailable and context.settings.quota.is_store_required:
        return "The quota store cannot be reached."
    return context.readiness.waits_for or await context.access.find_unready_reason()


def _add_health_routes(router: APIRouter, context: ServerContext) -> None:
    @router.get(
        "/healthz", response_model=HealthResponse, responses=build_refusal_schemas(requires_key=False)
    )
    async def healthz() -> object:
        """Report that the process is alive."""
        return {"status": "alive"}

    not_ready: dict[int | str, dict[str, Any]] = {
        503: {"model": ReadinessResponse, "description": "Not ready; ``waits_for`` is the reason."}
    }

    @router.get(
        "/readyz",
        response_model=ReadinessResponse,
        responses=build_refusal_schemas(requires_key=False) | not_ready,
    )
    async def readyz(response: Response) -> object:
        """Report whether streams can be served."""
        waits_for, is_away = await _find_unready_reason(context), context.ledger.is_store_unavailable
        response.status_code = 200 if waits_for is None else 503
        return {
            "status": "not ready" if waits_for is not None else "degraded" if is_away else "ready",
            "waits_for": waits_for,
            "models": list(context.services.engines.loaded_models),
            "quota_store": "away" if is_away else "reachable",
            "full": context.services.streams.is_full,
        }

    authenticator = context.access.metrics_authenticator
    schema = _build_auth_schema(authenticator) | {
        "responses": build_text_refusal_schemas(requires_key=authenticator.is_auth_required)
    }

    @router.get("/metrics", response_class=PlainTextResponse, **schema)
    async def metrics(request: Request) -> Response:
        """Export the metrics for Prometheus."""
        if (refusal := await _find_refusal(authenticator, context, request, None)) is not None:
            return refusal
        return Response(context.services.metrics.render_text(), media_type=CONTENT_TYPE)

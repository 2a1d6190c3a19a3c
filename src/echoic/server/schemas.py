"""Schemas of the HTTP responses, as described at ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from fastapi import Security
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBearer
from pydantic import BaseModel, ConfigDict

from echoic.errors import AccessRefused, ErrorCode

_FORBIDDEN_STATUS: Final = 403
#: The HTTP status of a refusal by its error code; 503 for any other code.
_HTTP_STATUS: Final = {ErrorCode.UNAUTHORIZED: 401, ErrorCode.FORBIDDEN: _FORBIDDEN_STATUS}


class _ExtensibleResponse(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorResponse(_ExtensibleResponse):
    """The reason of a refusal; ``message`` is a sentence for people."""

    type: Literal["error"]
    code: ErrorCode
    message: str


class ModelResponse(_ExtensibleResponse):
    """One model."""

    id: str
    model: str
    variant: str
    available: bool
    reason: str | None
    install: str | None
    word_timestamps: bool
    languages: list[str]
    loaded: bool


class AddOnResponse(_ExtensibleResponse):
    """An add-on; ``reason``: why it is unavailable; ``install``: a command that installs what it lacks."""

    available: bool
    reason: str | None
    install: str | None


class StatusResponse(_ExtensibleResponse):
    """The models, the features and the add-ons of a server."""

    status: Literal["available", "unavailable"]
    available_models: list[str]
    websocket_endpoint: str
    supported_features: dict[str, bool]
    models: list[ModelResponse]
    add_ons: dict[str, AddOnResponse]


class TierLimitsResponse(BaseModel):
    """The limits of a tier; null: unlimited."""

    daily_minutes: float | None
    concurrent_streams: int | None


class UserLimitsResponse(_ExtensibleResponse):
    """A user's limits and their use; null: unlimited, or unknown while the quota store is unreachable."""

    tier: str
    limits: TierLimitsResponse
    used_today_minutes: float | None
    remaining_minutes: float | None
    active_streams: int
    server_max_streams: int
    can_start_stream: bool


class HealthResponse(_ExtensibleResponse):
    """The process is alive."""

    status: Literal["alive"]


class ReadinessResponse(_ExtensibleResponse):
    """Whether streams can be served, and otherwise why not.

    ``degraded``: they can, but each process counts quotas on its own because the quota store is unreachable.
    """

    status: Literal["ready", "degraded", "not ready"]
    waits_for: str | None
    models: list[str]
    quota_store: Literal["reachable", "away"]
    full: bool


_REFUSAL_DESCRIPTIONS: Final[dict[int, str]] = {
    401: "The key is missing or wrong.",
    429: "Too many wrong keys from this address: the key was not checked.",
    503: "The key cannot be checked at the moment.",
}


def build_refusal_schemas(*, requires_key: bool) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of an endpoint's refusals.

    Args:
        requires_key: Whether the endpoint needs a key.
    """
    always = {_FORBIDDEN_STATUS: "The client's address or the Host header is not allowed."}
    return {
        code: {"model": ErrorResponse, "description": text}
        for code, text in (always | (_REFUSAL_DESCRIPTIONS if requires_key else {})).items()
    }


def build_text_refusal_schemas(*, requires_key: bool) -> dict[int | str, dict[str, Any]]:
    """Return the same for an endpoint that answers with text; its refusals are JSON too."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorResponse.__name__}"}}}
    return {
        code: {"content": content, "description": refusal["description"]}
        for code, refusal in build_refusal_schemas(requires_key=requires_key).items()
    }


def build_key_dependencies(*, requires_key: bool, allow_query: bool) -> Sequence[Depends]:
    """Return the OpenAPI security schemes of an endpoint; they only describe, and check nothing.

    Args:
        requires_key: Whether the endpoint needs a key.
        allow_query: Whether it accepts ``?token=``.
    """
    if not requires_key:
        return ()
    ways = [HTTPBearer(auto_error=False), APIKeyHeader(name="X-API-KEY", auto_error=False)]
    return [
        Security(way)
        for way in (*ways, *([APIKeyQuery(name="token", auto_error=False)] if allow_query else ()))
    ]


def render_refusal(refusal: AccessRefused) -> JSONResponse:
    """Return the response to a refused request."""
    body = {"type": "error", "code": refusal.code, "message": refusal.message} | refusal.detail
    wait = refusal.detail.get("retry_after")
    if wait is not None:
        return JSONResponse(body, 429, {"Retry-After": str(wait)})
    headers = {"WWW-Authenticate": "Bearer"} if refusal.code is ErrorCode.UNAUTHORIZED else None
    return JSONResponse(body, _HTTP_STATUS.get(refusal.code, 503), headers)

"""What the HTTP endpoints answer, as the schema at ``/openapi.json`` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from fastapi import Security
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, APIKeyQuery, HTTPBearer
from pydantic import BaseModel, ConfigDict

from echoic.errors import AccessRefused, ErrorCode

#: Whatever is refused to who may not ask is none of these.
_FORBIDDEN_STATUS: Final = 403
_HTTP_STATUS: Final = {ErrorCode.UNAUTHORIZED: 401, ErrorCode.FORBIDDEN: _FORBIDDEN_STATUS}


class _ExtensibleResponse(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorResponse(_ExtensibleResponse):
    """Why a request is not answered; ``message`` is a sentence for people."""

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
    """Something beside transcribing; ``reason``: why it is not there; ``install``: a command that helps."""

    available: bool
    reason: str | None
    install: str | None


class StatusResponse(_ExtensibleResponse):
    """What is there."""

    status: Literal["available", "unavailable"]
    available_models: list[str]
    websocket_endpoint: str
    supported_features: dict[str, bool]
    models: list[ModelResponse]
    add_ons: dict[str, AddOnResponse]


class TierLimitsResponse(BaseModel):
    """What a tier allows; null: without limit."""

    daily_minutes: float | None
    concurrent_streams: int | None


class UserLimitsResponse(_ExtensibleResponse):
    """What the user may and uses; null: without limit, or nobody can say now."""

    tier: str
    limits: TierLimitsResponse
    used_today_minutes: float | None
    remaining_minutes: float | None
    active_streams: int
    server_max_streams: int
    can_start_stream: bool


class HealthResponse(_ExtensibleResponse):
    """The process lives."""

    status: Literal["alive"]


class ReadinessResponse(_ExtensibleResponse):
    """Whether streams can be served, and what is waited for otherwise.

    ``degraded``: they can, but what users may use is not counted together, for its store is away.
    """

    status: Literal["ready", "degraded", "not ready"]
    waits_for: str | None
    models: list[str]
    quota_store: Literal["reachable", "away"]
    full: bool


_REFUSAL_DESCRIPTIONS: Final[dict[int, str]] = {
    401: "The key is missing or wrong.",
    429: "So many wrong keys came from this address that this one was not looked at.",
    503: "Keys cannot be checked at the moment.",
}


def build_refusal_schemas(*, requires_key: bool) -> dict[int | str, dict[str, Any]]:
    """Return what an endpoint may answer instead, for the schema.

    Args:
        requires_key: Whether it asks for a key.
    """
    told = {_FORBIDDEN_STATUS: "This address, or this name of the server, is not answered."}
    return {
        code: {"model": ErrorResponse, "description": text}
        for code, text in (told | (_REFUSAL_DESCRIPTIONS if requires_key else {})).items()
    }


def build_text_refusal_schemas(*, requires_key: bool) -> dict[int | str, dict[str, Any]]:
    """Return the same for an endpoint that answers text otherwise; its refusals are JSON all the same."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorResponse.__name__}"}}}
    return {
        code: {"content": content, "description": told["description"]}
        for code, told in build_refusal_schemas(requires_key=requires_key).items()
    }


def build_key_dependencies(*, requires_key: bool, allow_query: bool) -> Sequence[Depends]:
    """Return the ways to present a key to an endpoint, for the schema; they look at nothing.

    Args:
        requires_key: Whether it asks for one.
        allow_query: Whether ``?token=`` counts.
    """
    if not requires_key:
        return ()
    ways = [HTTPBearer(auto_error=False), APIKeyHeader(name="X-API-KEY", auto_error=False)]
    return [
        Security(way)
        for way in (*ways, *([APIKeyQuery(name="token", auto_error=False)] if allow_query else ()))
    ]


def render_refusal(refusal: AccessRefused) -> JSONResponse:
    """Return the answer to a request that is refused."""
    body = {"type": "error", "code": refusal.code, "message": refusal.message} | refusal.detail
    wait = refusal.detail.get("retry_after")
    if wait is not None:
        return JSONResponse(body, 429, {"Retry-After": str(wait)})
    headers = {"WWW-Authenticate": "Bearer"} if refusal.code is ErrorCode.UNAUTHORIZED else None
    return JSONResponse(body, _HTTP_STATUS.get(refusal.code, 503), headers)

"""Serves the web page; its security policy lets the browser load nothing from other servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import PurePath
from typing import Final

from fastapi import APIRouter, Request, Response

from echoic.auth.network import AllowedOrigins

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_INDEX_FILE: Final = "index.html"
_SCRIPT_SUFFIX: Final = ".js"
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), display-capture=(self), screen-wake-lock=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def build_page_router(origins: AllowedOrigins) -> APIRouter:
    """Build the routes of the page and its files.

    Args:
        origins: The web origins that may import its JavaScript modules.
    """
    router = APIRouter(include_in_schema=False)
    for file in files("echoic.server").joinpath("web").iterdir():
        suffix = PurePath(file.name).suffix
        path = "/" if file.name == _INDEX_FILE else f"/{file.name}"
        serve = _build_file_handler(
            file.read_bytes(), _MEDIA_TYPES[suffix], origins if suffix == _SCRIPT_SUFFIX else None
        )
        router.add_api_route(path, serve, methods=["GET"], name=file.name)
    return router


def _build_file_handler(
    body: bytes, media_type: str, origins: AllowedOrigins | None
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        headers = (
            _SECURITY_HEADERS
            if origins is None
            else _SECURITY_HEADERS | _build_cors_headers(request, origins)
        )
        return Response(body, media_type=media_type, headers=headers)

    return serve


def _build_cors_headers(request: Request, origins: AllowedOrigins) -> dict[str, str]:
    """Return the CORS headers for a request from another origin."""
    origin = request.headers.get("origin")
    is_allowed = origin is not None and origins.is_allowed(origin, request.headers.get("host"))
    return {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": origin} if origin and is_allowed else {})

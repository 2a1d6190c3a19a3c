"""The page: files of this package, served so that the browser loads nothing from anywhere else."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE: Final = "index.html"
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), display-capture=(self), screen-wake-lock=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def page_router() -> APIRouter:
    """Return the routes of the page and its files."""
    router = APIRouter(include_in_schema=False)
    for file in files("echoic.server").joinpath("web").iterdir():
        media_type = _MEDIA_TYPES[PurePath(file.name).suffix]
        path = "/" if file.name == _PAGE else f"/{file.name}"
        router.add_api_route(path, _served(file.read_bytes(), media_type), methods=["GET"], name=file.name)
    return router


def _served(body: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def serve() -> Response:
        return Response(body, media_type=media_type, headers=_HEADERS)

    return serve

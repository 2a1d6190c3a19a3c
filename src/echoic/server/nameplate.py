"""Which names the server answers to, where it asks nobody for a key: see ``limits.hosts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from echoic.errors import ErrorCode
from echoic.server.neighbours import find_request_address, send_forbidden

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp

    from echoic.limits.addresses import AddressList
    from echoic.limits.hosts import AllowedHosts
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend
    from echoic.server.refused import RefusalLog

_HOST_NOT_ALLOWED: Final = (
    "This server does not answer to this name. Its address does, and so do names that its settings list: "
    "[Auth] allowed_origins."
)


class AllowedHostMiddleware:
    """Middleware that answers only requests that are meant for this server.

    Args:
        app: What answers them.
        hosts: The names that mean it; a request that names none comes from no browser.
        proxies: Those whose ``X-Forwarded-For`` counts.
        refusals: Where who is refused is noted.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, proxies: AddressList, refusals: RefusalLog) -> None:
        self._app = app
        self._hosts = hosts
        self._proxies = proxies
        self._refusals = refusals

    async def __call__(self, scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        """Serve one request or WebSocket (ASGI)."""
        if scope["type"] == "lifespan" or self._is_host_allowed(scope):
            await self._app(scope, receive, send)
        else:
            self._refusals.log_refusal(ErrorCode.FORBIDDEN, find_request_address(scope, self._proxies))
            await send_forbidden(scope, receive, send, _HOST_NOT_ALLOWED)

    def _is_host_allowed(self, scope: MutableMapping[str, Any]) -> bool:
        named = (value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
        return all(map(self._hosts.is_allowed, named))

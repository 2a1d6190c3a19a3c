"""Which names the server answers to, where it asks nobody for a key: see ``limits.hosts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from echoic.errors import ErrorCode
from echoic.server.neighbours import address_of, refuse

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp

    from echoic.limits.addresses import Networks
    from echoic.limits.hosts import Hosts
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend
    from echoic.server.refused import Refusals

_MESSAGE: Final = (
    "This server does not answer to this name. Its address does, and so do names that its settings list: "
    "[Auth] allowed_origins."
)


class Nameplate:
    """Middleware that answers only requests that are meant for this server.

    Args:
        app: What answers them.
        hosts: The names that mean it; a request that names none comes from no browser.
        proxies: Those whose ``X-Forwarded-For`` counts.
        refusals: Where who is refused is noted.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, proxies: Networks, refusals: Refusals) -> None:
        self._app = app
        self._hosts = hosts
        self._proxies = proxies
        self._refusals = refusals

    async def __call__(self, scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        """Serve one request or WebSocket (ASGI)."""
        if scope["type"] == "lifespan" or self._knows(scope):
            await self._app(scope, receive, send)
        else:
            self._refusals.note(ErrorCode.FORBIDDEN, address_of(scope, self._proxies))
            await refuse(scope, receive, send, _MESSAGE)

    def _knows(self, scope: MutableMapping[str, Any]) -> bool:
        named = (value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
        return all(map(self._hosts.admit, named))

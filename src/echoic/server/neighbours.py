"""Which addresses the server answers at all, told before anything else is looked at."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.limits.addresses import find_client_address
from echoic.wire.codec import encode_frame
from echoic.wire.frames import Error

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp

    from echoic.limits.addresses import AddressList, IpAddress
    from echoic.server.means import AsgiReceive
    from echoic.server.outbox import AsgiSend
    from echoic.server.refused import RefusalLog

_ADDRESS_NOT_ALLOWED = "This address may not use this server."


class AllowedAddressMiddleware:
    """An ASGI application that lets only some addresses through to another.

    Args:
        app: The other.
        allowed: The addresses.
        proxies: Those whose ``X-Forwarded-For`` counts.
        refusals: Where who is refused is noted.
    """

    def __init__(
        self, app: ASGIApp, allowed: AddressList, proxies: AddressList, refusals: RefusalLog
    ) -> None:
        self._app = app
        self._refusals = refusals
        self._allowed = allowed
        self._proxies = proxies

    async def __call__(self, scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend) -> None:
        """Serve one request or WebSocket (ASGI)."""
        address = None if scope["type"] == "lifespan" else find_request_address(scope, self._proxies)
        if scope["type"] == "lifespan" or address in self._allowed:
            await self._app(scope, receive, send)
        else:
            self._refusals.log_refusal(ErrorCode.FORBIDDEN, address)
            await send_forbidden(scope, receive, send, _ADDRESS_NOT_ALLOWED)


async def send_forbidden(
    scope: MutableMapping[str, Any], receive: AsgiReceive, send: AsgiSend, message: str
) -> None:
    """Answer a request or a WebSocket (ASGI) by the error ``forbidden`` with this sentence."""
    frame = encode_frame(Error(code=ErrorCode.FORBIDDEN, message=message))
    if scope["type"] != "websocket":
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": frame.encode()})
        return
    await receive()  # websocket.connect
    with suppress(OSError):  # it may be gone already
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": frame})
        code = CLOSE_CODES[ErrorCode.FORBIDDEN]
        await send({"type": "websocket.close", "code": code, "reason": ""})


def find_request_address(scope: MutableMapping[str, Any], trusted_proxies: AddressList) -> IpAddress | None:
    """Return where a request (ASGI) comes from; None: that cannot be told.

    Args:
        scope: Of the request.
        trusted_proxies: Those whose ``X-Forwarded-For`` counts.
    """
    peer = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return find_client_address(peer[0] if peer else None, forwarded, trusted_proxies)

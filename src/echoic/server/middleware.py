"""Requests that are refused, in the log: so that an operator knows whose address to block."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from echoic.auth.network import AddressList, AllowedHosts, IpAddress, find_client_address
from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.observability.logging import log_event
from echoic.protocol.codec import encode_frame
from echoic.protocol.frames import Error

log = logging.getLogger(__name__)

#: Lines a second: whoever is refused in a loop does not fill the disk.
_MAX_LINES_PER_SECOND: Final = 10


class RefusalLog:
    """Logs refused requests, a few of them a second.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._logged_lines = 0
        self._suppressed = 0

    def log_refusal(self, code: str, address: IpAddress | None) -> None:
        """Log that a request from there was refused, or count it for the next line.

        Args:
            code: Of the error that it was told.
            address: Where it came from, or None: that cannot be told.
        """
        second = int(self._clock())
        if second != self._second:
            self._second, self._logged_lines = second, 0
        if self._logged_lines >= _MAX_LINES_PER_SECOND:
            self._suppressed += 1
            return
        self._logged_lines += 1
        left_out, self._suppressed = self._suppressed, 0
        log_event(log, logging.WARNING, "request.refused", code=code, address=str(address), left_out=left_out)


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket (ASGI)."""
        address = None if scope["type"] == "lifespan" else find_request_address(scope, self._proxies)
        if scope["type"] == "lifespan" or address in self._allowed:
            await self._app(scope, receive, send)
        else:
            self._refusals.log_refusal(ErrorCode.FORBIDDEN, address)
            await send_forbidden(scope, receive, send, _ADDRESS_NOT_ALLOWED)


async def send_forbidden(scope: Scope, receive: Receive, send: Send, message: str) -> None:
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


def find_request_address(scope: Scope, trusted_proxies: AddressList) -> IpAddress | None:
    """Return where a request (ASGI) comes from; None: that cannot be told.

    Args:
        scope: Of the request.
        trusted_proxies: Those whose ``X-Forwarded-For`` counts.
    """
    peer = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return find_client_address(peer[0] if peer else None, forwarded, trusted_proxies)


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket (ASGI)."""
        if scope["type"] == "lifespan" or self._is_host_allowed(scope):
            await self._app(scope, receive, send)
        else:
            self._refusals.log_refusal(ErrorCode.FORBIDDEN, find_request_address(scope, self._proxies))
            await send_forbidden(scope, receive, send, _HOST_NOT_ALLOWED)

    def _is_host_allowed(self, scope: Scope) -> bool:
        named = (value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
        return all(map(self._hosts.is_allowed, named))

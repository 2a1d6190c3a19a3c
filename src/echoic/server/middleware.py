"""ASGI middleware that rejects requests by their ``Host`` or their client's address, and logs refusals."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import ClassVar, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from echoic.auth.network import AddressList, AllowedHosts, IpAddress, find_client_address
from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.observability.logging import log_event
from echoic.protocol.codec import encode_frame
from echoic.protocol.frames import Error

log = logging.getLogger(__name__)

#: Log lines per second, so that a client that retries in a loop does not fill the disk.
_MAX_LINES_PER_SECOND: Final = 10


class RefusalLog:
    """A rate-limited log of refused requests; an operator finds in it the addresses to block.

    Args:
        clock: Returns the seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._logged_lines = 0
        self._suppressed = 0

    def log_refusal(self, code: str, address: IpAddress | None) -> None:
        """Log a refused request, or count it for the next line (``left_out``).

        Args:
            code: The error code that the client received.
            address: The client's address, or None if it is unknown.
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


class _RejectingMiddleware(ABC):
    """Answers ``forbidden`` to the requests and WebSockets that a subclass does not allow.

    Args:
        app: The wrapped application.
        proxies: Proxies whose ``X-Forwarded-For`` is believed.
        refusals: Logs rejected requests.
    """

    #: The message of the error.
    message: ClassVar[str]

    def __init__(self, app: ASGIApp, proxies: AddressList, refusals: RefusalLog) -> None:
        self._app = app
        self._proxies = proxies
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        address = find_request_address(scope, self._proxies)
        if self.is_allowed(scope, address):
            await self._app(scope, receive, send)
        else:
            self._refusals.log_refusal(ErrorCode.FORBIDDEN, address)
            await _send_forbidden(scope, receive, send, self.message)

    @abstractmethod
    def is_allowed(self, scope: Scope, address: IpAddress | None) -> bool:
        """Return whether a request or WebSocket (ASGI) from an address is served."""


class AllowedAddressMiddleware(_RejectingMiddleware):
    """Rejects clients whose address is not allowed.

    Args:
        app: The wrapped application.
        allowed: The allowed addresses.
        proxies: Proxies whose ``X-Forwarded-For`` is believed.
        refusals: Logs rejected requests.
    """

    message = "Clients with this address may not use this server."

    def __init__(
        self, app: ASGIApp, allowed: AddressList, proxies: AddressList, refusals: RefusalLog
    ) -> None:
        super().__init__(app, proxies, refusals)
        self._allowed = allowed

    def is_allowed(self, scope: Scope, address: IpAddress | None) -> bool:  # noqa: ARG002  # the base's signature
        """Return whether the address is in the list."""
        return address in self._allowed


class AllowedHostMiddleware(_RejectingMiddleware):
    """Rejects requests whose ``Host`` is not allowed; one without ``Host`` comes from no browser.

    Args:
        app: The wrapped application.
        hosts: The allowed hosts.
        proxies: Proxies whose ``X-Forwarded-For`` is believed.
        refusals: Logs rejected requests.
    """

    message = "Host not allowed. Use the server's address, or add the name to [Auth] allowed_origins."

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, proxies: AddressList, refusals: RefusalLog) -> None:
        super().__init__(app, proxies, refusals)
        self._hosts = hosts

    def is_allowed(self, scope: Scope, address: IpAddress | None) -> bool:  # noqa: ARG002  # the base's signature
        """Return whether every ``Host`` header is allowed."""
        hosts = (value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
        return all(map(self._hosts.is_allowed, hosts))


def find_request_address(scope: Scope, trusted_proxies: AddressList) -> IpAddress | None:
    """Return the address of the client of a request (ASGI), or None if it is unknown.

    Args:
        scope: The request's scope.
        trusted_proxies: Proxies whose ``X-Forwarded-For`` is believed.
    """
    peer = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return find_client_address(peer[0] if peer else None, forwarded, trusted_proxies)


async def _send_forbidden(scope: Scope, receive: Receive, send: Send, message: str) -> None:
    """Answer a request or a WebSocket (ASGI) with the error ``forbidden``."""
    frame = encode_frame(Error(code=ErrorCode.FORBIDDEN, message=message))
    if scope["type"] != "websocket":
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": frame.encode()})
        return
    await receive()  # websocket.connect
    with suppress(OSError):  # the client may have disconnected
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": frame})
        code = CLOSE_CODES[ErrorCode.FORBIDDEN]
        await send({"type": "websocket.close", "code": code, "reason": ""})

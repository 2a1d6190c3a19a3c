"""Authenticates clients by a key or a token in a header, the query, or the first message."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from echoic.auth.backends import AuthBackend
from echoic.auth.identity import LOCAL_IDENTITY, Identity, Scope
from echoic.auth.network import AllowedOrigins, IpAddress
from echoic.auth.throttle import AuthThrottle
from echoic.errors import AccessRefused, ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import Auth

#: The maximum number of connections that have not sent a credential yet. Each holds a socket and memory.
_MAX_PENDING_CONNECTIONS: Final = 1000
#: The maximum length of a key or token, in characters.
_MAX_CREDENTIAL_LENGTH: Final = 8192
_SCOPE_REFUSALS = {
    Scope.STREAM: "This API key may not open streams.",
    Scope.READ: "This API key may not read data of its user.",
}


def extract_credential(
    headers: Iterable[tuple[bytes, bytes]], query: bytes, *, allow_query_token: bool
) -> str | None:
    """Return a request's credential: ``Authorization: Bearer``, else ``X-API-KEY``, else ``?token=``.

    Args:
        headers: The headers, with names in lower case as in ASGI.
        query: The query string.
        allow_query_token: Whether ``?token=`` is accepted.
    """
    first_headers = _collect_first_headers(headers)
    scheme, _, bearer = first_headers.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    if b"x-api-key" in first_headers:
        return first_headers[b"x-api-key"]
    if allow_query_token:
        return dict(reversed(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).get("token")
    return None


def _collect_first_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    return {name: value.decode("latin-1").strip() for name, value in reversed(list(headers))}


def _build_refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Authenticates requests and connections."""

    #: The backends, in the order they are tried; none: authentication is off, credentials are ignored.
    backends: tuple[AuthBackend, ...] = field(default=(), repr=False)
    #: Whether ``?token=`` is accepted.
    allow_query_token: bool = True
    #: Seconds to wait for a first message with the credential.
    first_message_timeout: float = 5.0
    #: The origins whose pages may open streams.
    origins: AllowedOrigins = field(default_factory=AllowedOrigins)
    #: Held by connections that have not sent their first message yet.
    pending_connections: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_PENDING_CONNECTIONS), repr=False
    )
    #: Limits how many wrong credentials are checked.
    throttle: AuthThrottle = field(default_factory=lambda: AuthThrottle(0), repr=False)

    @property
    def is_auth_required(self) -> bool:
        """Whether a credential is required."""
        return bool(self.backends)

    def check_origin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Check the ``Origin`` header of a request.

        Raises:
            AccessRefused: Pages of this origin may not open streams.
        """
        first_headers = _collect_first_headers(headers)
        if not self.origins.is_allowed(first_headers.get(b"origin"), first_headers.get(b"host")):
            raise AccessRefused(ErrorCode.FORBIDDEN, "Pages of this origin may not use this server.")

    async def authenticate_request(
        self, scope: Mapping[str, Any], required_scope: Scope | None, address: IpAddress | None
    ) -> Identity | None:
        """Authenticate a request (ASGI); return None if it has no credential.

        Args:
            scope: The request's ASGI scope.
            required_scope: What the credential must permit. If None, any valid credential is accepted.
            address: The client's address, or None if it is unknown.

        Raises:
            AccessRefused: The credential is wrong or does not permit ``required_scope``.
        """
        if not self.backends:
            return LOCAL_IDENTITY
        key = extract_credential(
            scope["headers"], scope["query_string"], allow_query_token=self.allow_query_token
        )
        return None if key is None else await self.authenticate_key(key, required_scope, address)

    async def authenticate_first_message(
        self, receive: Callable[[], Awaitable[str | bytes]], address: IpAddress | None = None
    ) -> Identity:
        """Authenticate a connection by its first message.

        Args:
            receive: Returns the next message.
            address: The client's address, or None if it is unknown.

        Raises:
            AccessRefused: The message has no valid credential, or does not arrive in time; or too many
                connections wait for theirs.
        """
        try:
            async with self.limit_pending_connections(), asyncio.timeout(self.first_message_timeout):
                message = await receive()
        except TimeoutError as error:
            raise _build_refusal("No API key arrived in time.") from error
        try:
            frame = decode_message(message)
        except ProtocolError as error:
            raise _build_refusal("The first message must contain the API key.") from error
        if not isinstance(frame, Auth):
            raise _build_refusal("This server needs an API key.")
        return await self.authenticate_key(frame.token, Scope.STREAM, address)

    def limit_pending_connections(self) -> asyncio.Semaphore:
        """Return a semaphore to hold while waiting for a connection's first message.

        Raises:
            AccessRefused: The maximum number of connections is waiting.
        """
        if self.pending_connections.locked():
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "Too many connections have not sent their first message yet. Try again later, and send the "
                "key with the request.",
                retry_after=math.ceil(self.first_message_timeout),
            )
        return self.pending_connections

    async def authenticate_key(
        self, key: str, required_scope: Scope | None, address: IpAddress | None = None
    ) -> Identity:
        """Authenticate a key or token.

        Args:
            key: The credential.
            required_scope: What it must permit. If None, any valid credential is accepted.
            address: The client's address, or None if it is unknown.

        Raises:
            AccessRefused: It is unknown, or does not permit ``required_scope``; or too many wrong ones came
                from this address.
        """
        key = key[: _MAX_CREDENTIAL_LENGTH + 1]  # a message may be 8 MiB long
        self.throttle.check_credential(address, key)
        identity = await self._find_identity(key)
        if identity is None:
            self.throttle.record_failure(address)
            raise _build_refusal("The API key is wrong.")
        self.throttle.record_success(key)
        if required_scope is not None and required_scope not in identity.scopes:
            raise AccessRefused(ErrorCode.FORBIDDEN, _SCOPE_REFUSALS[required_scope])
        return identity

    async def _find_identity(self, key: str) -> Identity | None:
        if len(key) > _MAX_CREDENTIAL_LENGTH:
            return None
        for backend in self.backends:
            identity = await backend.identify_user(key)
            if identity is not None:
                return identity
        return None

"""Who may open a stream: a key or a token, from a header, the query, or the first message."""

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

#: Clients whose first message is waited for at the same time; each may hold memory and a socket for nothing.
_MAX_PENDING_CONNECTIONS: Final = 1000
#: Characters of the longest key or token that is looked at.
_MAX_CREDENTIAL_LENGTH: Final = 8192
_SCOPE_REFUSALS = {
    Scope.STREAM: "This API key may not open streams.",
    Scope.READ: "This API key may not read what is said about its user.",
}


def extract_credential(
    headers: Iterable[tuple[bytes, bytes]], query: bytes, *, allow_query_token: bool
) -> str | None:
    """Return the key of a request: of ``Authorization: Bearer``, ``X-API-KEY``, ``?token=`` the first.

    Args:
        headers: Names in lower case, as ASGI gives them.
        query: The query string.
        allow_query_token: Whether ``?token=`` counts.
    """
    known = _collect_first_headers(headers)
    scheme, _, bearer = known.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    if b"x-api-key" in known:
        return known[b"x-api-key"]
    if allow_query_token:
        return dict(reversed(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).get("token")
    return None


def _collect_first_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    return {name: value.decode("latin-1").strip() for name, value in reversed(list(headers))}


def _build_refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Lets streams in.

    Attributes:
        backends: How credentials are known, in the order they are tried; none: everyone may, and credentials
            are not looked at.
        allow_query_token: Whether ``?token=`` counts.
        first_message_timeout: Seconds that a first message with the key may take.
        origins: Whose pages may, of those that browsers ask for.
        pending_connections: For clients whose first message is waited for.
        throttle: How many wrong credentials are looked at.
    """

    backends: tuple[AuthBackend, ...] = field(default=(), repr=False)
    allow_query_token: bool = True
    first_message_timeout: float = 5.0
    origins: AllowedOrigins = field(default_factory=AllowedOrigins)
    pending_connections: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_PENDING_CONNECTIONS), repr=False
    )
    throttle: AuthThrottle = field(default_factory=lambda: AuthThrottle(0), repr=False)

    @property
    def is_auth_required(self) -> bool:
        """Whether a credential is needed."""
        return bool(self.backends)

    def check_origin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Return if the page that a browser asks for may open streams.

        Raises:
            AccessRefused: It may not.
        """
        known = _collect_first_headers(headers)
        if not self.origins.is_allowed(known.get(b"origin"), known.get(b"host")):
            raise AccessRefused(ErrorCode.FORBIDDEN, "Pages of this origin may not use this server.")

    async def authenticate_request(
        self, scope: Mapping[str, Any], required_scope: Scope | None, address: IpAddress | None
    ) -> Identity | None:
        """Return who sends a request (ASGI); None: it brings no credential.

        Args:
            scope: Of the request.
            required_scope: What it wants to do, or None: something that everyone who is known may.
            address: Where it comes from, or None: that cannot be told.

        Raises:
            AccessRefused: It brings a wrong one, or one without this right.
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
        """Wait for the first message, which must bring the credential; return who sends it.

        Raises:
            AccessRefused: It brings none, a wrong one, one that may not stream, or does not come in time; or
                so many are waited for that only a request which brings its credential is heard.
        """
        try:
            async with self.hold_pending_connection(), asyncio.timeout(self.first_message_timeout):
                message = await receive()
        except TimeoutError as error:
            raise _build_refusal("No API key came in time.") from error
        try:
            frame = decode_message(message)
        except ProtocolError as error:
            raise _build_refusal("The first message must bring the API key.") from error
        if not isinstance(frame, Auth):
            raise _build_refusal("This server needs an API key.")
        return await self.authenticate_key(frame.token, Scope.STREAM, address)

    def hold_pending_connection(self) -> asyncio.Semaphore:
        """Return what is to be held while a client's first message is waited for, before it has a stream.

        Raises:
            AccessRefused: As many are waited for as may be.
        """
        if self.pending_connections.locked():
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "Many connections have yet to send their first message. Please try again later, and send the "
                "key with the request.",
                retry_after=math.ceil(self.first_message_timeout),
            )
        return self.pending_connections

    async def authenticate_key(
        self, key: str, required_scope: Scope | None, address: IpAddress | None = None
    ) -> Identity:
        """Return who presents ``key``.

        Raises:
            AccessRefused: Nobody known, or somebody without this right; or too many who are not known came
                from the same address.
        """
        key = key[: _MAX_CREDENTIAL_LENGTH + 1]  # a message may be 8 MiB long
        self.throttle.check_credential(address, key)
        identity = await self._find_identity(key)
        if identity is None:
            self.throttle.record_failure(address)
            raise _build_refusal("The API key is not the right one.")
        self.throttle.record_success(key)
        if required_scope is not None and required_scope not in identity.scopes:
            raise AccessRefused(ErrorCode.FORBIDDEN, _SCOPE_REFUSALS[required_scope])
        return identity

    async def _find_identity(self, key: str) -> Identity | None:
        if len(key) > _MAX_CREDENTIAL_LENGTH:
            return None
        for way in self.backends:
            identity = await way.identify_user(key)
            if identity is not None:
                return identity
        return None

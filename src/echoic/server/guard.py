"""Who may open a stream: a key or a token, from a header, the query, or the first message."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from echoic.errors import AccessRefused, ErrorCode, ProtocolError
from echoic.limits.identity import LOCAL, Right
from echoic.limits.origins import Origins
from echoic.limits.throttle import Throttle
from echoic.wire.codec import decode_message
from echoic.wire.frames import Auth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Any

    from echoic.limits.addresses import Address
    from echoic.limits.identity import Identity
    from echoic.limits.ways import Way

#: Clients whose first message is waited for at the same time; each may hold memory and a socket for nothing.
_MOST_WAITING: Final = 1000
#: Characters of the longest key or token that is looked at.
_LONGEST_KEY: Final = 8192
_RIGHTS = {
    Right.STREAM: "This API key may not open streams.",
    Right.READ: "This API key may not read what is said about its user.",
}


def credential(headers: Iterable[tuple[bytes, bytes]], query: bytes, *, allow_query: bool) -> str | None:
    """Return the key of a request: of ``Authorization: Bearer``, ``X-API-KEY``, ``?token=`` the first.

    Args:
        headers: Names in lower case, as ASGI gives them.
        query: The query string.
        allow_query: Whether ``?token=`` counts.
    """
    known = _first_of_each(headers)
    scheme, _, bearer = known.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    if b"x-api-key" in known:
        return known[b"x-api-key"]
    if allow_query:
        return dict(reversed(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).get("token")
    return None


def _first_of_each(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    return {name: value.decode("latin-1").strip() for name, value in reversed(list(headers))}


def _refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets streams in.

    Attributes:
        ways: How credentials are known, in the order they are tried; none: everyone may, and credentials
            are not looked at.
        allow_query: Whether ``?token=`` counts.
        patience: Seconds that a first message with the key may take.
        origins: Whose pages may, of those that browsers ask for.
        places: For clients whose first message is waited for.
        throttle: How many wrong credentials are looked at.
    """

    ways: tuple[Way, ...] = field(default=(), repr=False)
    allow_query: bool = True
    patience: float = 5.0
    origins: Origins = field(default_factory=Origins)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_WAITING), repr=False)
    throttle: Throttle = field(default_factory=lambda: Throttle(0), repr=False)

    @property
    def asks(self) -> bool:
        """Whether a credential is needed."""
        return bool(self.ways)

    def check_origin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Return if the page that a browser asks for may open streams.

        Raises:
            AccessRefused: It may not.
        """
        known = _first_of_each(headers)
        if not self.origins.admit(known.get(b"origin"), known.get(b"host")):
            raise AccessRefused(ErrorCode.FORBIDDEN, "Pages of this origin may not use this server.")

    async def admits(
        self, scope: Mapping[str, Any], right: Right | None, address: Address | None
    ) -> Identity | None:
        """Return who sends a request (ASGI); None: it brings no credential.

        Args:
            scope: Of the request.
            right: What it wants to do, or None: something that everyone who is known may.
            address: Where it comes from, or None: that cannot be told.

        Raises:
            AccessRefused: It brings a wrong one, or one without this right.
        """
        if not self.ways:
            return LOCAL
        key = credential(scope["headers"], scope["query_string"], allow_query=self.allow_query)
        return None if key is None else await self.identify(key, right, address)

    async def hear(
        self, receive: Callable[[], Awaitable[str | bytes]], address: Address | None = None
    ) -> Identity:
        """Wait for the first message, which must bring the credential; return who sends it.

        Raises:
            AccessRefused: It brings none, a wrong one, one that may not stream, or does not come in time; or
                so many are waited for that only a request which brings its credential is heard.
        """
        try:
            async with self.place(), asyncio.timeout(self.patience):
                message = await receive()
        except TimeoutError as error:
            raise _refusal("No API key came in time.") from error
        try:
            frame = decode_message(message)
        except ProtocolError as error:
            raise _refusal("The first message must bring the API key.") from error
        if not isinstance(frame, Auth):
            raise _refusal("This server needs an API key.")
        return await self.identify(frame.token, Right.STREAM, address)

    def place(self) -> asyncio.Semaphore:
        """Return what is to be held while a client's first message is waited for, before it has a stream.

        Raises:
            AccessRefused: As many are waited for as may be.
        """
        if self.places.locked():
            raise AccessRefused(
                ErrorCode.SERVER_BUSY,
                "Many connections have yet to send their first message. Please try again later, and send the "
                "key with the request.",
                retry_after=math.ceil(self.patience),
            )
        return self.places

    async def identify(self, key: str, right: Right | None, address: Address | None = None) -> Identity:
        """Return who presents ``key``.

        Raises:
            AccessRefused: Nobody known, or somebody without this right; or too many who are not known came
                from the same address.
        """
        key = key[: _LONGEST_KEY + 1]  # a message may be 8 MiB long
        self.throttle.check(address, key)
        identity = await self._owner(key)
        if identity is None:
            self.throttle.wrong(address)
            raise _refusal("The API key is not the right one.")
        self.throttle.good(key)
        if right is not None and right not in identity.rights:
            raise AccessRefused(ErrorCode.FORBIDDEN, _RIGHTS[right])
        return identity

    async def _owner(self, key: str) -> Identity | None:
        if len(key) > _LONGEST_KEY:
            return None
        for way in self.ways:
            identity = await way.identify(key)
            if identity is not None:
                return identity
        return None

"""Who may open a stream: one key, from a header, the query, or the first message."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from echoic.errors import AccessRefused, ErrorCode, ProtocolError
from echoic.wire.codec import decode_message
from echoic.wire.frames import Auth

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

#: A key may be written into the settings as this and the hexadecimal SHA-256 of its UTF-8.
DIGEST_PREFIX = "sha256:"
_DIGEST_BYTES = 32


def key_digest(key: str) -> bytes:
    """Return the SHA-256 of a key, or the one that ``sha256:HEX`` already names.

    Raises:
        ValueError: ``sha256:`` with something else than 64 hexadecimal digits after it.
    """
    if not key.startswith(DIGEST_PREFIX):
        return sha256(key.encode()).digest()
    try:
        digest = bytes.fromhex(key.removeprefix(DIGEST_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError("after 'sha256:' there must be 64 hexadecimal digits")
    return digest


def credential(headers: Iterable[tuple[bytes, bytes]], query: bytes, *, allow_query: bool) -> str | None:
    """Return the key of a request: of ``Authorization: Bearer``, ``X-API-KEY``, ``?token=`` the first.

    Args:
        headers: Names in lower case, as ASGI gives them.
        query: The query string.
        allow_query: Whether ``?token=`` counts.
    """
    known = {name: value.decode("latin-1").strip() for name, value in reversed(list(headers))}
    scheme, _, bearer = known.get(b"authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    if b"x-api-key" in known:
        return known[b"x-api-key"]
    if allow_query:
        return dict(reversed(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).get("token")
    return None


def _refusal(message: str) -> AccessRefused:
    return AccessRefused(ErrorCode.UNAUTHORIZED, message)


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets streams in.

    Attributes:
        digest: ``key_digest`` of the key, or None: everyone may, and credentials are not looked at.
        allow_query: Whether ``?token=`` counts.
        patience: Seconds that a first message with the key may take.
    """

    digest: bytes | None = field(default=None, repr=False)
    allow_query: bool = True
    patience: float = 5.0

    def knows(self, key: str) -> bool:
        """Return whether ``key`` is the key, in a time that does not tell how much of it is right."""
        return self.digest is None or compare_digest(sha256(key.encode()).digest(), self.digest)

    def admits(self, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> bool:
        """Return whether a request with these headers and query may; False: it brings no key.

        Raises:
            AccessRefused: It brings a wrong key.
        """
        if self.digest is None:
            return True
        key = credential(headers, query, allow_query=self.allow_query)
        if key is None:
            return False
        if not self.knows(key):
            raise _refusal("The API key is not the right one.")
        return True

    async def hear(self, receive: Callable[[], Awaitable[str | bytes]]) -> None:
        """Wait for the first message, which must bring the key.

        Raises:
            AccessRefused: It brings none or a wrong one, or does not come in time.
        """
        try:
            async with asyncio.timeout(self.patience):
                message = await receive()
        except TimeoutError as error:
            raise _refusal("No API key came in time.") from error
        try:
            frame = decode_message(message)
        except ProtocolError as error:
            raise _refusal("The first message must bring the API key.") from error
        if not isinstance(frame, Auth):
            raise _refusal("This server needs an API key.")
        if not self.knows(frame.token):
            raise _refusal("The API key is not the right one.")

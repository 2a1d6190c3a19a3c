"""A key's text: made, taken apart, digested and compared.

A key is ``echoic_ID_SECRET``: twelve hexadecimal digits that are no secret and say where to look, and 256
random bits that are. So much chance cannot be guessed through its digest, however fast that is computed:
SHA-256 is enough, and the slow hashes that passwords need would only cost time at each connection.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from hashlib import sha256
from hmac import compare_digest
from secrets import token_hex, token_urlsafe
from typing import Final, Protocol

from echoic.auth.identity import ALL_SCOPES, LOCAL_TIER, Identity, Scope

#: What a key begins with; programs that look for secrets in files know them by it.
KEY_PREFIX: Final = "echoic_"
#: The one key of the settings may be written as this and the hexadecimal SHA-256 of its UTF-8.
DIGEST_PREFIX: Final = "sha256:"
_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_KEY_PATTERN: Final = re.compile(rf"{KEY_PREFIX}([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
#: The id of no key: what is looked up for a text that holds none, so that this takes as long.
NO_KEY_ID: Final = "0" * 2 * _ID_BYTES
#: A digest that no text has been found to have: what is compared with where there is no key.
NO_DIGEST: Final = bytes(_DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A key that was just made.

    Attributes:
        id: Its public part.
        text: All of it: shown once, kept nowhere.
    """

    id: str
    text: str = field(repr=False)


def generate_key() -> GeneratedKey:
    """Return a new key of 256 random bits."""
    name = NO_KEY_ID
    while name == NO_KEY_ID:
        name = token_hex(_ID_BYTES)
    return GeneratedKey(name, f"{KEY_PREFIX}{name}_{token_urlsafe(_SECRET_BYTES)}")


def parse_key_id(text: str) -> str:
    """Return the id that stands in a key, or ``NO_KEY_ID`` if it has not the form of a key."""
    found = _KEY_PATTERN.fullmatch(text)
    return found[1] if found else NO_KEY_ID


def compute_digest(text: str) -> bytes:
    """Return the SHA-256 of a key's UTF-8; of one that is no Unicode something that matches no key."""
    return sha256(text.encode(errors="surrogatepass")).digest()


def same_digest(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in a time that does not depend on where they differ."""
    return compare_digest(one, other)


def parse_key_digest(text: str) -> bytes:
    """Return the digest of a key as the settings hold it: of the key, or the one that ``sha256:HEX`` names.

    Raises:
        ValueError: ``sha256:`` with something else than 64 hexadecimal digits after it.
    """
    if not text.startswith(DIGEST_PREFIX):
        return compute_digest(text)
    try:
        digest = bytes.fromhex(text.removeprefix(DIGEST_PREFIX))
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError("after 'sha256:' there must be 64 hexadecimal digits")
    return digest


#: Characters of the longest name of a user.
MAX_USER_NAME_LENGTH: Final = 128
_TIER_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}", re.ASCII)


class KeyStoreUnavailable(Exception):
    """The store of keys cannot be asked.

    Args:
        message: A sentence for the operator, without the store's address or anything secret.
    """

    def __init__(self, message: str = "The store of keys cannot be reached.") -> None:
        super().__init__(message)
        self.message = message


class KeyStatus(Enum):
    """Whether a key counts."""

    VALID = "good"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key; times in UTC, with their zone.

    Attributes:
        id: Its public part.
        digest: SHA-256 of all of it.
        user: Whose it is.
        tier: The user's limits.
        scopes: What it may be used for.
        created: When it was made.
        expires: When it stops to count, or None: never.
        revoked: When it was revoked, or None.
        last_used: When it last opened something, to the minute, or None: not yet.
    """

    id: str
    digest: bytes = field(repr=False)
    user: str
    tier: str
    created: datetime
    scopes: frozenset[Scope] = ALL_SCOPES
    expires: datetime | None = None
    revoked: datetime | None = None
    last_used: datetime | None = None

    @property
    def identity(self) -> Identity:
        """Who presents this key."""
        return Identity(self.user, self.tier, self.id, self.scopes)

    def status_at(self, now: datetime) -> KeyStatus:
        """Return whether it counts at ``now``; once revoked, a key stays so."""
        if self.revoked is not None:
            return KeyStatus.REVOKED
        if self.expires is not None and now >= self.expires:
            return KeyStatus.EXPIRED
        return KeyStatus.VALID


class KeyStore(Protocol):
    """Where keys are kept. Each method may raise KeyStoreUnavailable."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """Return the key with this id."""

    async def find_keys(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        """Return those of these ids that there are."""

    async def record_use(self, key_id: str, used_at: datetime) -> None:
        """Note that a key was used; earlier than what is noted changes nothing."""


def is_valid_user_name(text: str) -> bool:
    """Return whether a user may be called so: 1 to 128 printable characters, none of them blank at an end."""
    return 0 < len(text) <= MAX_USER_NAME_LENGTH and text.isprintable() and text == text.strip()


def is_valid_tier_name(text: str) -> bool:
    """Return whether a key may have a tier of this name: 1 to 32 of a-z, 0-9, - and _, a letter first.

    ``local`` is kept for the user who needs no key.
    """
    return _TIER_PATTERN.fullmatch(text) is not None and text != LOCAL_TIER

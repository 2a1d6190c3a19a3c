"""Interface of key stores, and the record of a key in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from echoic.auth.identity import ALL_SCOPES, Identity, Scope


class KeyStoreUnavailable(Exception):
    """The key store cannot be used.

    Args:
        message: The reason, as a sentence without the store's address or any secret.
    """

    def __init__(self, message: str = "The key store cannot be reached.") -> None:
        super().__init__(message)
        self.message = message


class KeyStatus(Enum):
    """Whether a key is valid."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored; times are aware and in UTC."""

    #: The public id.
    id: str
    #: The SHA-256 of the whole key.
    digest: bytes = field(repr=False)
    user: str
    #: The tier of the user.
    tier: str
    created: datetime
    scopes: frozenset[Scope] = ALL_SCOPES
    #: When the key becomes invalid, or None: never.
    expires: datetime | None = None
    revoked: datetime | None = None
    #: The last use, to the minute.
    last_used: datetime | None = None

    @property
    def identity(self) -> Identity:
        """The user that the key authenticates."""
        return Identity(self.user, self.tier, self.id, self.scopes)

    def status_at(self, now: datetime) -> KeyStatus:
        """Return the key's status at ``now``; a revoked key stays revoked."""
        if self.revoked is not None:
            return KeyStatus.REVOKED
        if self.expires is not None and now >= self.expires:
            return KeyStatus.EXPIRED
        return KeyStatus.VALID


class KeyStore(Protocol):
    """A key store. Each method may raise KeyStoreUnavailable."""

    async def find_key(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, or None."""

    async def find_keys(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        """Return the existing keys among these ids, by id."""

    async def record_use(self, key_id: str, used_at: datetime) -> None:
        """Record a key's use, unless a later one is recorded."""

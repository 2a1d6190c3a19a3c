"""Users' keys: what is kept of one, when it counts, and what a store of them can do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from echoic.limits.identity import ALL_SCOPES, LOCAL_TIER, Identity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from echoic.limits.identity import Scope

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

"""The authenticated user of a stream: user, tier and permitted scopes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: The user and tier of a server without authentication; unlimited by default.
LOCAL_USER: Final = "local"
LOCAL_TIER: Final = "local"
#: The user and tier of the single key of the settings.
SINGLE_KEY_USER: Final = "default"
SINGLE_KEY_TIER: Final = "premium"


class Scope(StrEnum):
    """What a key permits."""

    #: Opening streams.
    STREAM = "stream"
    #: Reading data of its user, such as limits and usage.
    READ = "read"


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated user; holds no secret."""

    #: The user's name, which quotas charge.
    user: str
    #: The name of the tier with the user's limits.
    tier: str
    #: The public id of the key, or None if the credential is not from the key store.
    key_id: str | None = None
    scopes: frozenset[Scope] = ALL_SCOPES


LOCAL_IDENTITY: Final = Identity(LOCAL_USER, LOCAL_TIER)

"""Who a stream belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: The user, and the tier, of a server without keys; without limits unless some are set.
LOCAL_USER: Final = "local"
LOCAL_TIER: Final = "local"
#: The user and the tier of the one key of the settings.
SINGLE_KEY_USER: Final = "default"
SINGLE_KEY_TIER: Final = "premium"


class Scope(StrEnum):
    """What a key may be used for."""

    #: Open streams.
    STREAM = "stream"
    #: Read what is said about its user, such as the limits.
    READ = "read"


ALL_SCOPES: Final = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose stream it is, as quotas charge it; no secret is in it.

    Attributes:
        user: The name that use is counted under.
        tier: The name of the user's limits.
        key_id: The public id of the key that was presented, or None: by no key of the key store.
        scopes: What it may be used for.
    """

    user: str
    tier: str
    key_id: str | None = None
    scopes: frozenset[Scope] = ALL_SCOPES


LOCAL_IDENTITY: Final = Identity(LOCAL_USER, LOCAL_TIER)

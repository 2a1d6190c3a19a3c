"""Who a stream belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The user of a server without keys, who has no limits unless some are set.
LOCAL_USER: Final = "local"
#: The user of the one key of the settings.
SINGLE_KEY_USER: Final = "default"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose stream it is, as quotas charge it; no secret is in it.

    Attributes:
        user: The name that use is counted under.
        tier: The name of the user's limits.
        key_id: The public id of the key that was presented, or None: by no key of the key store.
    """

    user: str
    tier: str
    key_id: str | None = None

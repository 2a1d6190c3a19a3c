"""Keys for tests: made in a store that a server then opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoic.auth.identity import ALL_SCOPES
from echoic.auth.key_store import KeyDatabase

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from echoic.auth.identity import Scope
    from echoic.auth.keys import GeneratedKey


async def make_key_in(
    file: Path,
    user: str = "anna",
    tier: str | None = None,
    *,
    rights: frozenset[Scope] = ALL_SCOPES,
    expires: datetime | None = None,
) -> GeneratedKey:
    """Return a new key of the store in ``file``, which is made if it is not there."""
    store = KeyDatabase(str(file))
    await store.open()
    new, _ = await store.create_key(user, tier, scopes=rights, expires=expires)
    await store.close()
    return new

"""The stores that a server's settings name, and whether it could use them."""

import asyncio
from typing import TYPE_CHECKING

from echoic.cli.checks import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echoic.server.settings import Settings


def stores(settings: "Settings") -> "Iterator[Check]":
    """Yield whether the stores of keys and of quotas can be reached, where there are any; nothing is made."""
    if settings.keys_db is not None:
        yield asyncio.run(_keys(settings.keys_db))
    if settings.redis_url is not None:
        yield asyncio.run(_quotas(settings.redis_url))


async def _keys(place: str) -> Check:
    from echoic.limits.key_database import KeyDatabase
    from echoic.limits.keys import KeyStoreUnavailable

    try:
        store = KeyDatabase(place)
    except KeyStoreUnavailable as problem:
        return _without_keys(problem.message)
    try:
        await store.look()
    except KeyStoreUnavailable as problem:
        return _without_keys(problem.message)
    finally:
        await store.close()
    return Check("keys", "ok", "their store can be opened")


def _without_keys(found: str) -> Check:
    return Check("keys", "missing", found, "set [Auth] keys_db (ECHOIC_KEYS_DB) to where they may be kept")


async def _quotas(url: str) -> Check:
    from echoic.limits.quota import StoreAway
    from echoic.limits.redis import RedisQuotas

    store = RedisQuotas(url)
    try:
        await store.ping()
    except StoreAway as away:
        found = f"Redis cannot be reached ({away}); meanwhile streams hear what failopen_cap_minutes lends"
        return Check("quotas", "note", found, "start it, or set [Quota] redis_url (REDIS_URL) right")
    finally:
        await store.close()
    return Check("quotas", "ok", "Redis answers")

"""The stores that a server's settings name, and whether it could use them."""

import asyncio
from typing import TYPE_CHECKING

from echoic.cli.checks import CheckResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from echoic.server.settings import Settings


def inspect_stores(settings: "Settings") -> "Iterator[CheckResult]":
    """Yield whether the stores of keys and of quotas can be reached, where there are any; nothing is made."""
    if settings.keys_db is not None:
        yield asyncio.run(_inspect_key_store(settings.keys_db))
    if settings.redis_url is not None:
        yield asyncio.run(_inspect_quota_store(settings.redis_url))


async def _inspect_key_store(store_url: str) -> CheckResult:
    from echoic.limits.key_database import KeyDatabase
    from echoic.limits.keys import KeyStoreUnavailable

    try:
        store = KeyDatabase(store_url)
    except KeyStoreUnavailable as problem:
        return _report_bad_key_store(problem.message)
    try:
        await store.check_access()
    except KeyStoreUnavailable as problem:
        return _report_bad_key_store(problem.message)
    finally:
        await store.close()
    return CheckResult("keys", "ok", "their store can be opened")


def _report_bad_key_store(found: str) -> CheckResult:
    return CheckResult(
        "keys", "missing", found, "set [Auth] keys_db (ECHOIC_KEYS_DB) to where they may be kept"
    )


async def _inspect_quota_store(url: str) -> CheckResult:
    from echoic.limits.quota import QuotaStoreUnavailable
    from echoic.limits.redis import RedisQuotaStore

    store = RedisQuotaStore(url)
    try:
        await store.ping()
    except QuotaStoreUnavailable as away:
        found = f"Redis cannot be reached ({away}); meanwhile streams hear what failopen_cap_minutes lends"
        return CheckResult("quotas", "note", found, "start it, or set [Quota] redis_url (REDIS_URL) right")
    finally:
        await store.close()
    return CheckResult("quotas", "ok", "Redis answers")

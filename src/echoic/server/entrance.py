"""The entrance that the settings describe: how credentials are known, and who stands before the door."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoic.limits.hosts import Hosts
from echoic.limits.keys import KeyStoreUnavailable
from echoic.limits.origins import Origins
from echoic.limits.secret import NO_ID
from echoic.limits.throttle import Throttle
from echoic.limits.tokens import Tokens
from echoic.limits.ways import SingleKey, StoredKeys
from echoic.server.guard import Guard
from echoic.server.log import event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from echoic.limits.key_database import KeyDatabase
    from echoic.limits.ways import Way
    from echoic.server.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entrance:
    """What lets people in.

    Attributes:
        guard: Who may.
        scraper: Who may read the metrics.
        hosts: The names that are answered to; where a key is needed any, for a page that a foreign name leads
            here has none.
        store: The users' keys, or None: there are none.
        stored_keys: The way that asks the store.
    """

    guard: Guard
    scraper: Guard
    hosts: Hosts
    store: KeyDatabase | None = field(default=None, repr=False)
    stored_keys: StoredKeys | None = field(default=None, repr=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the store of keys open.

        Raises:
            KeyStoreUnavailable: It cannot be opened; nobody could come in.
        """
        if self.store is None or self.stored_keys is None:
            yield
            return
        try:
            await self.store.open()
        except KeyStoreUnavailable as problem:
            event(log, logging.ERROR, "keys.unavailable", reason=problem.message)
            await self.store.close()
            raise
        try:
            yield
        finally:
            await self.stored_keys.settle()
            await self.store.close()

    async def waits_for(self) -> str | None:
        """Return why nobody could come in now, in a sentence; None: all is well."""
        if self.store is not None:
            try:
                await self.store.find(NO_ID)
            except KeyStoreUnavailable as problem:
                return problem.message
        return None


def entrance_of(settings: Settings, count: Callable[[str], None] = lambda _: None) -> Entrance:
    """Return the entrance that the settings describe; its store is not open yet.

    Args:
        settings: Of the server.
        count: Called for each wrong credential, as ``Throttle`` does.

    Raises:
        KeyStoreUnavailable: Its database has no driver here.
        TokensUnavailable: Tokens cannot be checked here.
    """
    store, stored_keys = None, None
    ways: list[Way] = []
    if settings.api_key is not None:
        ways.append(SingleKey(settings.api_key))
    if settings.keys_db is not None:
        from echoic.limits.key_database import KeyDatabase  # noqa: PLC0415  # takes a moment, and only some want it

        store = KeyDatabase(settings.keys_db)
        stored_keys = StoredKeys(store)
        ways.append(stored_keys)
    tokens = _tokens_of(settings)
    if tokens is not None:
        ways.append(tokens)
    origins = Origins.parse(settings.allowed_origins or "", local=not ways)
    throttle = Throttle(settings.wrong_keys_per_minute, count=count)
    guard = Guard(
        tuple(ways),
        settings.allow_query_token,
        settings.auth_timeout_seconds,
        origins,
        throttle=throttle,
    )
    hosts = Hosts(None) if ways else _hosts_of(settings, origins)
    scraper = Guard(
        (SingleKey(settings.metrics_key),) if settings.metrics_key else (),
        allow_query=False,
        throttle=throttle,
    )
    return Entrance(guard, scraper, hosts, store, stored_keys)


def _hosts_of(settings: Settings, origins: Origins) -> Hosts:
    return Hosts(None if origins.hosts is None else origins.hosts | {settings.host.lower()})


def _tokens_of(settings: Settings) -> Tokens | None:
    about = (settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_seconds)
    if settings.jwt_secret is not None:
        return Tokens("HS256", settings.jwt_secret, *about)
    if settings.jwt_public_key_file is not None:
        return Tokens("RS256", settings.jwt_public_key_file, *about)
    return None

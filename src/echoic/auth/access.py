"""The entrance that the settings describe: how credentials are known, and who stands before the door."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echoic.auth.authenticator import Authenticator
from echoic.auth.backends import AuthBackend, KeyStoreBackend, SingleKeyBackend
from echoic.auth.keys import NO_KEY_ID, KeyStoreUnavailable
from echoic.auth.network import AllowedHosts, AllowedOrigins
from echoic.auth.throttle import AuthThrottle
from echoic.auth.tokens import JwtBackend
from echoic.observability.logging import log_event

if TYPE_CHECKING:
    from echoic.auth.key_store import KeyDatabase
    from echoic.server.settings.groups import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AccessControl:
    """What lets people in.

    Attributes:
        authenticator: Who may.
        metrics_authenticator: Who may read the metrics.
        allowed_hosts: The names that are answered to; where a key is needed any, for a page that a foreign name leads
            here has none.
        key_store: The users' keys, or None: there are none.
        key_store_backend: The way that asks the store.
    """

    authenticator: Authenticator
    metrics_authenticator: Authenticator
    allowed_hosts: AllowedHosts
    key_store: KeyDatabase | None = field(default=None, repr=False)
    key_store_backend: KeyStoreBackend | None = field(default=None, repr=False)

    @asynccontextmanager
    async def open_key_store(self) -> AsyncIterator[None]:
        """Hold the store of keys open.

        Raises:
            KeyStoreUnavailable: It cannot be opened; nobody could come in.
        """
        if self.key_store is None or self.key_store_backend is None:
            yield
            return
        try:
            await self.key_store.open()
        except KeyStoreUnavailable as problem:
            log_event(log, logging.ERROR, "keys.unavailable", reason=problem.message)
            await self.key_store.close()
            raise
        try:
            yield
        finally:
            await self.key_store_backend.flush_writes()
            await self.key_store.close()

    async def find_unready_reason(self) -> str | None:
        """Return why nobody could come in now, in a sentence; None: all is well."""
        if self.key_store is not None:
            try:
                await self.key_store.find_key(NO_KEY_ID)
            except KeyStoreUnavailable as problem:
                return problem.message
        return None


def build_access_control(
    settings: Settings, count_outcome: Callable[[str], None] = lambda _: None
) -> AccessControl:
    """Return the entrance that the settings describe; its store is not open yet.

    Args:
        settings: Of the server.
        count_outcome: Called for each wrong credential, as ``Throttle`` does.

    Raises:
        KeyStoreUnavailable: Its database has no driver here.
        TokensUnavailable: Tokens cannot be checked here.
    """
    store, stored_keys = None, None
    ways: list[AuthBackend] = []
    if settings.api_key is not None:
        ways.append(SingleKeyBackend(settings.api_key))
    if settings.keys_db is not None:
        from echoic.auth.key_store import KeyDatabase  # takes a moment, and only some want it

        store = KeyDatabase(settings.keys_db)
        stored_keys = KeyStoreBackend(store)
        ways.append(stored_keys)
    tokens = _build_jwt_backend(settings)
    if tokens is not None:
        ways.append(tokens)
    origins = AllowedOrigins.from_text(settings.allowed_origins or "", allow_loopback=not ways)
    throttle = AuthThrottle(settings.wrong_keys_per_minute, count_outcome=count_outcome)
    guard = Authenticator(
        tuple(ways),
        settings.allow_query_token,
        settings.auth_timeout_seconds,
        origins,
        throttle=throttle,
    )
    hosts = AllowedHosts(None) if ways else _build_allowed_hosts(settings, origins)
    scraper = Authenticator(
        (SingleKeyBackend(settings.metrics_key),) if settings.metrics_key else (),
        allow_query_token=False,
        throttle=throttle,
    )
    return AccessControl(guard, scraper, hosts, store, stored_keys)


def _build_allowed_hosts(settings: Settings, origins: AllowedOrigins) -> AllowedHosts:
    return AllowedHosts(None if origins.host_names is None else origins.host_names | {settings.host.lower()})


def _build_jwt_backend(settings: Settings) -> JwtBackend | None:
    about = (settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_seconds)
    if settings.jwt_secret is not None:
        return JwtBackend("HS256", settings.jwt_secret, *about)
    if settings.jwt_public_key_file is not None:
        return JwtBackend("RS256", settings.jwt_public_key_file, *about)
    return None

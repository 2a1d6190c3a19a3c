"""Builds and validates authentication from the ``[Auth]`` settings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from echoic.auth.authenticator import Authenticator
from echoic.auth.backends import AuthBackend, KeyStoreBackend, SingleKeyBackend
from echoic.auth.key_store import KeyStoreUnavailable
from echoic.auth.keys import NO_KEY_ID
from echoic.auth.network import AllowedHosts, AllowedOrigins
from echoic.auth.throttle import AuthThrottle
from echoic.auth.tokens import JwtBackend, JwtUnavailable
from echoic.observability.logging import log_event

if TYPE_CHECKING:  # SQLAlchemy is slow to import, and most servers need no key store
    from echoic.auth.key_database import KeyDatabase

log = logging.getLogger(__name__)


class AccessSettings(Protocol):
    """The settings that access control is built from."""

    @property
    def api_key(self) -> bytes | None:
        """SHA-256 of the single API key, or None."""

    @property
    def metrics_key(self) -> bytes | None:
        """SHA-256 of the key for ``/metrics``, or None: no key is required."""

    @property
    def keys_db(self) -> str | None:
        """The key store: a SQLite file or an SQLAlchemy URL, or None."""

    @property
    def jwt_secret(self) -> bytes | None:
        """The shared secret of HS256 tokens, or None."""

    @property
    def jwt_public_key_file(self) -> bytes | None:
        """The PEM contents of the public key of RS256 tokens, or None."""

    @property
    def jwt_issuer(self) -> str | None:
        """The required ``iss``, or None."""

    @property
    def jwt_audience(self) -> str | None:
        """The required ``aud``, or None."""

    @property
    def jwt_leeway_seconds(self) -> float:
        """The tolerated clock difference, in seconds."""

    @property
    def allow_query_token(self) -> bool:
        """Whether ``?token=`` is accepted."""

    @property
    def auth_timeout_seconds(self) -> float:
        """Seconds to wait for a first message with the credential."""

    @property
    def wrong_keys_per_minute(self) -> float:
        """Wrong credentials checked per address and minute. 0 means no limit."""

    @property
    def allowed_origins(self) -> str | None:
        """Origins whose pages may open streams, separated by commas."""


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Everything that decides whether a request is served."""

    #: Authenticates streams and API requests.
    authenticator: Authenticator
    #: Authenticates requests for ``/metrics``.
    metrics_authenticator: Authenticator
    #: Accepted ``Host`` headers. Any host is accepted where a key is required: a page that
    #: reaches the server by DNS rebinding has no key.
    allowed_hosts: AllowedHosts
    #: The users' keys, or None: there is no key store.
    key_store: KeyDatabase | None = field(default=None, repr=False)
    #: The backend that looks keys up in ``key_store``.
    key_store_backend: KeyStoreBackend | None = field(default=None, repr=False)

    @asynccontextmanager
    async def open_key_store(self) -> AsyncIterator[None]:
        """Keep the key store open inside the block.

        Raises:
            KeyStoreUnavailable: It cannot be opened.
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
        """Return why credentials cannot be checked now, as a sentence, or None if they can."""
        if self.key_store is not None:
            try:
                await self.key_store.find_key(NO_KEY_ID)
            except KeyStoreUnavailable as problem:
                return problem.message
        return None


def build_access_control(
    settings: AccessSettings, host: str, count_outcome: Callable[[str], None] = lambda _: None
) -> AccessControl:
    """Build access control; the key store is not opened yet.

    Args:
        settings: The ``[Auth]`` settings.
        host: The address or name that the server listens on; it is always an allowed host.
        count_outcome: Called with the outcome of each rejected credential; see ``AuthThrottle``.

    Raises:
        KeyStoreUnavailable: No driver for the key store's database is installed.
        JwtUnavailable: The token settings are unusable, or the JWT library is not installed.
    """
    store, store_backend = None, None
    backends: list[AuthBackend] = []
    if settings.api_key is not None:
        backends.append(SingleKeyBackend(settings.api_key))
    if settings.keys_db is not None:
        from echoic.auth.key_database import KeyDatabase  # noqa: PLC0415  # imports SQLAlchemy: slow, and only needed for keys_db

        store = KeyDatabase(settings.keys_db)
        store_backend = KeyStoreBackend(store)
        backends.append(store_backend)
    jwt_backend = _build_jwt_backend(settings)
    if jwt_backend is not None:
        backends.append(jwt_backend)
    origins = AllowedOrigins.from_text(settings.allowed_origins or "", allow_loopback=not backends)
    throttle = AuthThrottle(settings.wrong_keys_per_minute, count_outcome=count_outcome)
    authenticator = Authenticator(
        tuple(backends),
        settings.allow_query_token,
        settings.auth_timeout_seconds,
        origins,
        throttle=throttle,
    )
    metrics_authenticator = Authenticator(
        (SingleKeyBackend(settings.metrics_key),) if settings.metrics_key else (),
        allow_query_token=False,
        throttle=throttle,
    )
    hosts = AllowedHosts(None) if backends else _build_allowed_hosts(host, origins)
    return AccessControl(authenticator, metrics_authenticator, hosts, store, store_backend)


def validate_access(settings: AccessSettings, host: str) -> Iterator[str]:
    """Yield a sentence for each problem that the ``[Auth]`` settings have together.

    Args:
        settings: The ``[Auth]`` settings.
        host: The address or name that the server listens on.
    """
    if settings.jwt_secret is not None and settings.jwt_public_key_file is not None:
        yield "[Auth] jwt_secret and jwt_public_key_file exclude each other: set one of them."
    try:
        build_access_control(settings, host)
    except (KeyStoreUnavailable, JwtUnavailable) as problem:
        yield f"[Auth] {problem.message}"


def _build_allowed_hosts(host: str, origins: AllowedOrigins) -> AllowedHosts:
    return AllowedHosts(None if origins.host_names is None else origins.host_names | {host.lower()})


def _build_jwt_backend(settings: AccessSettings) -> JwtBackend | None:
    claims = (settings.jwt_issuer, settings.jwt_audience, settings.jwt_leeway_seconds)
    if settings.jwt_secret is not None:
        return JwtBackend("HS256", settings.jwt_secret, *claims)
    if settings.jwt_public_key_file is not None:
        return JwtBackend("RS256", settings.jwt_public_key_file, *claims)
    return None

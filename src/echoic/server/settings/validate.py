"""Validates settings together: values that are in conflict although each is usable on its own."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from echoic.auth.access import validate_access
from echoic.server.settings.groups import SETTINGS, Settings


def find_conflicts(settings: Settings, unusable: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """Yield one sentence for each conflict.

    Args:
        settings: The usable settings.
        unusable: Names of settings whose values were rejected; checks that depend on them are skipped.
    """
    for names, find in _CHECKS:
        if not names & unusable:
            yield from find(settings)


def is_loopback(host: str) -> bool:
    """Return whether a server that listens on ``host`` is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _find_exposure(settings: Settings) -> Iterator[str]:
    server, auth = settings.server, settings.auth
    if not (auth.is_key_required or server.allow_open_network or is_loopback(server.host)):
        yield (
            f"host = {server.host} opens the server to the network, but no API key is set: "
            "set [Auth] api_key (ECHOIC_API_KEY) or keys_db, or set [Server] allow_open_network = yes."
        )
    if auth.status_needs_key and not auth.is_key_required:
        yield "[Auth] status_needs_key is set, but no key: set api_key or keys_db too."


def _find_auth_conflicts(settings: Settings) -> Iterator[str]:
    yield from validate_access(settings.auth, settings.server.host)


def _find_tls_conflicts(settings: Settings) -> Iterator[str]:
    cert, key = settings.server.tls_cert_file, settings.server.tls_key_file
    if cert is None:
        if key is not None:
            yield "[Server] tls_key_file is set, but no tls_cert_file."
        return
    try:
        # OpenSSL would ask the terminal for a missing password.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, lambda: b"")
    except (ssl.SSLError, ValueError):
        files = f"{cert} and {key}" if key else f"{cert} alone"
        yield f"[Server] {files} are not a certificate and its key, as PEM and without a password."
    except OSError as error:
        name = "tls_cert_file" if not os.access(cert, os.R_OK) else "tls_key_file"
        yield f"[Server] {name}: this file cannot be read: {(error.strerror or 'no reason given').lower()}."


def _find_insight_conflicts(settings: Settings) -> Iterator[str]:
    insights = settings.insights
    if insights.provider == "llm" and not (insights.base_url and insights.model):
        yield "[Insights] provider = llm needs base_url and model: the language model's address and its name."


def _find_load_conflicts(settings: Settings) -> Iterator[str]:
    server = settings.server
    for name, marks in (("backlog", server.backlog_marks), ("total_backlog", server.total_backlog_marks)):
        if marks.low >= marks.high:
            yield f"[Server] low_{name}_seconds should be less than max_{name}_seconds, {marks.high:g}."


_CREDENTIALS: Final = frozenset({"api_key", "keys_db", "jwt_secret", "jwt_public_key_file"})
#: Each check with the settings it depends on.
_CHECKS: Final[tuple[tuple[AbstractSet[str], Callable[[Settings], Iterable[str]]], ...]] = (
    (_CREDENTIALS | {"host", "allow_open_network"}, _find_exposure),
    (frozenset(), _find_auth_conflicts),
    (frozenset({"tls_cert_file", "tls_key_file"}), _find_tls_conflicts),
    (frozenset({"insights_provider", "insights_base_url", "insights_model"}), _find_insight_conflicts),
    (frozenset(name for name in SETTINGS if name.endswith("_backlog_seconds")), _find_load_conflicts),
)

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from echoic.auth.identity import Identity, Scope
from echoic.auth.key_store import ApiKey, KeyStatus, KeyStoreUnavailable
from echoic.auth.keys import compute_digest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ApiKey("0123456789ab", compute_digest("a secret"), "ann", "pro", NOW, frozenset({Scope.READ}))


def test_a_key_without_an_expiry_stays_valid() -> None:
    assert KEY.status_at(NOW + timedelta(days=36_500)) is KeyStatus.VALID


def test_a_key_expires_at_its_expiry() -> None:
    key = replace(KEY, expires=NOW)
    assert key.status_at(NOW - timedelta(seconds=1)) is KeyStatus.VALID
    assert key.status_at(NOW) is KeyStatus.EXPIRED


def test_a_revoked_key_stays_revoked_after_its_expiry() -> None:
    key = replace(KEY, revoked=NOW, expires=NOW)
    assert key.status_at(NOW) is KeyStatus.REVOKED


def test_a_key_identifies_its_user() -> None:
    assert KEY.identity == Identity("ann", "pro", "0123456789ab", frozenset({Scope.READ}))


def test_a_record_does_not_show_its_digest() -> None:
    assert KEY.digest.hex() not in repr(KEY)
    assert str(KEY.digest) not in repr(KEY)


def test_an_unavailable_store_gives_a_reason() -> None:
    assert KeyStoreUnavailable().message == "The key store cannot be reached."
    assert str(KeyStoreUnavailable("The disk is full.")) == "The disk is full."

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from echoic.auth.identity import LOCAL_IDENTITY
from echoic.auth.key_database import KeyDatabase
from echoic.auth.key_store import ApiKey, KeyStoreUnavailable
from echoic.auth.keys import compute_digest
from echoic.auth.revocation import CHECK_INTERVAL_SECONDS, RevocationMonitor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from echoic.protocol.frames import Error


class Stream:
    def __init__(self) -> None:
        self.ends: list[tuple[int, str]] = []

    def end_stream(self, code: int, error: Error | None = None) -> None:
        assert error is not None
        self.ends.append((code, error.code))


class UnavailableKeyStore:
    async def find_key(self, _: str) -> ApiKey | None:
        raise KeyStoreUnavailable

    async def find_keys(self, _: Collection[str]) -> Mapping[str, ApiKey]:
        raise KeyStoreUnavailable

    async def record_use(self, *_: object) -> None:
        raise KeyStoreUnavailable


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[KeyDatabase]:
    database = KeyDatabase(str(tmp_path / "keys.db"))
    await database.open()
    yield database
    await database.close()


async def test_only_streams_of_a_revoked_key_end(store: KeyDatabase) -> None:
    monitor = RevocationMonitor(store)
    _, revoked = await store.create_key("anna")
    _, good = await store.create_key("ben")
    ended, running, local = [Stream(), Stream()], Stream(), Stream()
    for stream in ended:
        monitor.follow_stream(stream, revoked.identity)
    monitor.follow_stream(running, good.identity)
    monitor.follow_stream(local, LOCAL_IDENTITY)
    await monitor.end_revoked_streams()
    await store.revoke_key(revoked.id)
    await monitor.end_revoked_streams()
    await monitor.end_revoked_streams()
    assert [stream.ends for stream in ended] == [[(4401, "unauthorized")]] * 2
    assert running.ends == local.ends == []


async def test_streams_of_an_expired_key_end(store: KeyDatabase) -> None:
    _, key = await store.create_key("anna", expires=datetime.now(UTC) - timedelta(seconds=1))
    stream, monitor = Stream(), RevocationMonitor(store)
    monitor.follow_stream(stream, key.identity)
    await monitor.end_revoked_streams()
    assert stream.ends == [(4401, "unauthorized")]


async def test_a_deleted_key_ends_its_streams(store: KeyDatabase) -> None:
    stream, monitor = Stream(), RevocationMonitor(store)
    key = ApiKey("ffffffffffff", compute_digest("x"), "anna", "free", datetime.now(UTC))
    monitor.follow_stream(stream, key.identity)
    await monitor.end_revoked_streams()
    assert len(stream.ends) == 1


async def test_a_forgotten_stream_is_not_ended(store: KeyDatabase) -> None:
    _, key = await store.create_key("anna")
    stream, monitor = Stream(), RevocationMonitor(store)
    monitor.follow_stream(stream, key.identity)
    monitor.forget_stream(stream)
    await store.revoke_key(key.id)
    await monitor.end_revoked_streams()
    assert stream.ends == []


async def test_an_unavailable_store_ends_no_stream(store: KeyDatabase) -> None:
    _, key = await store.create_key("anna")
    stream, monitor = Stream(), RevocationMonitor(UnavailableKeyStore())
    monitor.follow_stream(stream, key.identity)
    await monitor.end_revoked_streams()
    assert stream.ends == []


def test_two_checks_with_their_timeouts_fit_into_a_minute() -> None:
    assert 2 * (CHECK_INTERVAL_SECONDS + 5) <= 60

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from echoic.limits.identity import LOCAL
from echoic.limits.key_database import KeyDatabase
from echoic.limits.keys import Key, KeyStoreUnavailable
from echoic.limits.secret import digest_of
from echoic.server.watch import LOOK_SECONDS, KeyWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping
    from pathlib import Path

    from echoic.wire.frames import Error


class Stream:
    def __init__(self) -> None:
        self.ends: list[tuple[int, str]] = []

    def end(self, code: int, error: Error | None = None) -> None:
        assert error is not None
        self.ends.append((code, error.code))


class Away:
    async def find(self, _: str) -> Key | None:
        raise KeyStoreUnavailable

    async def find_all(self, _: Collection[str]) -> Mapping[str, Key]:
        raise KeyStoreUnavailable

    async def used(self, *_: object) -> None:
        raise KeyStoreUnavailable


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[KeyDatabase]:
    database = KeyDatabase(str(tmp_path / "keys.db"))
    await database.open()
    yield database
    await database.close()


async def test_streams_of_a_revoked_key_end_once_and_others_go_on(store: KeyDatabase) -> None:
    watch = KeyWatch(store)
    _, revoked = await store.create("anna")
    _, good = await store.create("ben")
    theirs, others, local = [Stream(), Stream()], Stream(), Stream()
    for stream in theirs:
        watch.follow(stream, revoked.identity)
    watch.follow(others, good.identity)
    watch.follow(local, LOCAL)
    await watch.look()
    await store.revoke(revoked.id)
    await watch.look()
    await watch.look()
    assert [stream.ends for stream in theirs] == [[(4401, "unauthorized")]] * 2
    assert others.ends == local.ends == []


async def test_streams_end_with_their_keys_time(store: KeyDatabase) -> None:
    _, key = await store.create("anna", expires=datetime.now(UTC) - timedelta(seconds=1))
    stream, watch = Stream(), KeyWatch(store)
    watch.follow(stream, key.identity)
    await watch.look()
    assert stream.ends == [(4401, "unauthorized")]


async def test_a_key_that_is_gone_from_the_store_ends_its_streams(store: KeyDatabase) -> None:
    stream, watch = Stream(), KeyWatch(store)
    key = Key("ffffffffffff", digest_of("x"), "anna", "free", datetime.now(UTC))
    watch.follow(stream, key.identity)
    await watch.look()
    assert len(stream.ends) == 1


async def test_a_stream_that_is_over_is_left_alone(store: KeyDatabase) -> None:
    _, key = await store.create("anna")
    stream, watch = Stream(), KeyWatch(store)
    watch.follow(stream, key.identity)
    watch.forget(stream)
    await store.revoke(key.id)
    await watch.look()
    assert stream.ends == []


async def test_where_the_store_is_away_streams_go_on(store: KeyDatabase) -> None:
    _, key = await store.create("anna")
    stream, watch = Stream(), KeyWatch(Away())
    watch.follow(stream, key.identity)
    await watch.look()
    assert stream.ends == []


def test_a_look_and_the_stores_patience_fit_twice_into_a_minute() -> None:
    assert 2 * (LOOK_SECONDS + 5) <= 60

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from echoic.auth.identity import ALL_SCOPES, Identity, Scope
from echoic.auth.key_database import LATEST_SCHEMA_VERSION, KeyDatabase, TierMismatch
from echoic.auth.key_store import KeyStatus, KeyStoreUnavailable
from echoic.auth.keys import NO_KEY_ID, compute_digest
from support.database_servers import create_database, is_postgres_available, run_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.db"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with run_postgres() as place:
        yield place


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgres",
            marks=pytest.mark.skipif(not is_postgres_available(), reason="needs PostgreSQL and asyncpg"),
        ),
    ]
)
def place(request: pytest.FixtureRequest, file: Path) -> str:
    """Where a database is, or will be."""
    if request.param == "sqlite":
        return str(file)
    return create_database(request.getfixturevalue("server"), f"keys_{token_hex(8)}")


@pytest.fixture
async def store(place: str) -> AsyncIterator[KeyDatabase]:
    """A store of every kind."""
    database = KeyDatabase(place)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def filed(file: Path) -> AsyncIterator[KeyDatabase]:
    """A store in a file."""
    database = KeyDatabase(str(file))
    await database.open()
    yield database
    await database.close()


async def test_a_new_key_is_found_by_its_id(store: KeyDatabase) -> None:
    new, key = await store.create_key("anna", "premium", scopes=frozenset({Scope.READ}), expires=NOW)
    assert await store.find_key(new.id) == key
    assert key.digest == compute_digest(new.text)
    assert (key.expires, key.revoked, key.last_used) == (NOW, None, None)
    assert abs(key.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert key.identity == Identity("anna", "premium", new.id, frozenset({Scope.READ}))


async def test_a_missing_key_is_not_found(store: KeyDatabase) -> None:
    new, _ = await store.create_key("anna")
    assert await store.find_key("000000000000") is None
    assert await store.find_key("' OR 1=1 --") is None
    assert set(await store.find_keys([new.id, "ffffffffffff"])) == {new.id}
    assert await store.find_keys([]) == {}


async def test_a_missing_key_takes_the_same_queries(
    store: KeyDatabase,
) -> None:
    new, _ = await store.create_key("anna")
    done: list[tuple[object, int]] = []
    event.listen(
        store._sql_engine.sync_engine,  # noqa: SLF001  # what it really does
        "after_cursor_execute",
        lambda *given: done.append((given[2], len(given[3]))),
    )
    for name in (new.id, "ffffffffffff", NO_KEY_ID):
        await store.find_key(name)
    assert len(done) == 3
    assert len(set(done)) == 1


async def test_the_lookup_of_a_missing_key_returns_one_row_too(filed: KeyDatabase, file: Path) -> None:
    new, _ = await filed.create_key("anna")
    statements: list[tuple[str, Any]] = []
    event.listen(
        filed._sql_engine.sync_engine,  # noqa: SLF001  # what it really asks
        "before_cursor_execute",
        lambda *given: statements.append((given[2], given[3])),
    )
    await filed.find_key(new.id)
    await filed.find_key("ffffffffffff")
    with closing(sqlite3.connect(file)) as database:
        found, missing = (database.execute(*asked).fetchall() for asked in statements)
    assert [len(found), len(missing)] == [1, 1]
    assert list(map(type, missing[0][2:6])) == list(map(type, found[0][2:6]))


async def test_the_database_contains_no_secret(filed: KeyDatabase, file: Path) -> None:
    new, _ = await filed.create_key("anna")
    with sqlite3.connect(file) as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert new.id in dump
    secret = new.text[len("echoic_") + len(new.id) + 1 :]
    assert secret not in dump
    for part in file.parent.iterdir():
        assert secret.encode() not in part.read_bytes()


async def test_only_its_owner_may_read_the_file(filed: KeyDatabase, file: Path) -> None:
    await filed.create_key("anna")
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(part.stat().st_mode) for part in file.parent.iterdir()} == {0o600}


async def test_readers_do_not_wait_for_a_writer(filed: KeyDatabase, file: Path) -> None:
    new, _ = await filed.create_key("anna")
    writer = sqlite3.connect(file, isolation_level=None)
    assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer.execute("BEGIN IMMEDIATE")
    assert await filed.find_key(new.id) is not None
    writer.execute("ROLLBACK")
    writer.close()


async def test_a_tier_belongs_to_the_user(store: KeyDatabase) -> None:
    _, first = await store.create_key("anna")
    assert first.tier == "standard"
    with pytest.raises(TierMismatch) as caught:
        await store.create_key("anna", "premium")
    assert caught.value.tier == "standard"
    assert await store.set_tier("anna", "premium")
    _, second = await store.create_key("anna")
    assert [key.tier for key in await store.list_keys()] == ["premium", "premium"]
    assert second.tier == "premium"
    assert not await store.set_tier("no-user", "free")


async def test_keys_are_listed_by_user_the_oldest_first(store: KeyDatabase) -> None:
    for user in ("anna", "ben", "anna"):
        await store.create_key(user)
    assert len(await store.list_keys()) == 3
    assert [key.user for key in await store.list_keys("anna")] == ["anna", "anna"]
    assert await store.list_keys("no-user") == []


async def test_a_second_revocation_changes_nothing(store: KeyDatabase) -> None:
    new, _ = await store.create_key("anna")
    assert await store.revoke_key(new.id)
    first = await store.find_key(new.id)
    assert await store.revoke_key(new.id)
    assert first is not None
    assert first.status_at(NOW) is KeyStatus.REVOKED
    assert await store.find_key(new.id) == first
    assert not await store.revoke_key("000000000000")


async def test_another_process_sees_a_revocation_at_once(filed: KeyDatabase, file: Path) -> None:
    new, _ = await filed.create_key("anna")
    other = KeyDatabase(f"sqlite:///{file}")
    await other.open()
    assert await other.revoke_key(new.id)
    await other.close()
    key = await filed.find_key(new.id)
    assert key is not None
    assert key.revoked is not None


async def test_the_last_use_never_goes_back(store: KeyDatabase) -> None:
    new, _ = await store.create_key("anna")
    for when in (NOW, NOW - timedelta(hours=1)):
        await store.record_use(new.id, when)
        key = await store.find_key(new.id)
        assert key is not None
        assert key.last_used == NOW


async def test_a_key_is_valid_until_it_expires(store: KeyDatabase) -> None:
    _, key = await store.create_key("anna", expires=NOW)
    assert key.status_at(NOW - timedelta(seconds=1)) is KeyStatus.VALID
    assert key.status_at(NOW) is KeyStatus.EXPIRED
    assert key.scopes == ALL_SCOPES


async def test_keys_persist_across_restarts(place: str) -> None:
    for _ in range(2):
        store = KeyDatabase(place)
        await store.open()
        await store.create_key("anna")
        await store.close()
    store = KeyDatabase(place)
    await store.open()
    assert len(await store.list_keys()) == 2
    await store.close()


async def test_processes_may_create_the_tables_concurrently(place: str) -> None:
    stores = [KeyDatabase(place) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.create_key(f"user {number}") for number, store in enumerate(stores)))
    assert len(await stores[0].list_keys()) == 6
    for store in stores:
        await store.close()


async def test_a_newer_schema_is_refused(filed: KeyDatabase, file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("INSERT INTO echoic_schema VALUES (?)", (LATEST_SCHEMA_VERSION + 1,))
    database.close()
    with pytest.raises(KeyStoreUnavailable, match="newer version"):
        await filed.open()


async def test_another_files_contents_are_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Dear diary, today " * 500)
    store = KeyDatabase(str(file))
    with pytest.raises(KeyStoreUnavailable):
        await store.open()
    await store.close()
    assert file.read_text().startswith("Dear diary")


async def test_an_unwritable_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = KeyDatabase(str(tmp_path / "file" / "keys.db"))
    with pytest.raises(KeyStoreUnavailable, match="cannot be created"):
        await store.open()
    await store.close()


@pytest.mark.parametrize(
    "place", ["postgresql://anna:s3cret@db/keys", "nosuch+driver://anna:s3cret@db/keys", "://"]
)
def test_an_unusable_url_is_explained_without_its_password(place: str) -> None:
    with pytest.raises(KeyStoreUnavailable) as caught:
        KeyDatabase(place)
    assert "s3cret" not in str(caught.value)


async def test_a_malformed_record_is_explained(filed: KeyDatabase, file: Path) -> None:
    new, _ = await filed.create_key("anna")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE echoic_keys SET rights = 'read rule_the_world'")
    key = await filed.find_key(new.id)
    assert key is not None
    assert key.scopes == {Scope.READ}
    with database:
        database.execute("UPDATE echoic_keys SET digest = 'nonsense'")
    database.close()
    with pytest.raises(KeyStoreUnavailable, match="invalid key"):
        await filed.find_key(new.id)


async def test_an_unreachable_database_is_explained_without_its_url() -> None:
    store = KeyDatabase("postgresql+asyncpg://anna:s3cret@127.0.0.1:1/keys")
    with pytest.raises(KeyStoreUnavailable, match="ConnectionRefusedError") as caught:
        await store.find_key("000000000000")
    assert "s3cret" not in str(caught.value)
    await store.close()


@pytest.mark.parametrize("step", ["open", "check_access"])
async def test_a_file_that_is_no_database_is_named(tmp_path: Path, step: str) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("-----BEGIN CERTIFICATE-----")
    store = KeyDatabase(str(file))
    with pytest.raises(KeyStoreUnavailable) as raised:
        await getattr(store, step)()
    assert raised.value.message == "The key store cert.pem is not a SQLite database."
    await store.close()


async def test_checking_access_creates_nothing(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "keys.db"
    store = KeyDatabase(str(file))
    await store.check_access()
    assert not file.parent.exists()  # a look at a temporary folder
    await store.open()
    await store.check_access()
    await store.close()

"""The tables that keys are kept in, and the steps that lead to them from any earlier version.

A step is plain SQL that SQLite, PostgreSQL and MySQL take alike, and is never changed once it was
published: what comes later is another step. Times are whole seconds since 1970 (UTC), digests hexadecimal.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    MetaData,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    event,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import URL, Connection, Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from echoic.auth.identity import ALL_SCOPES, Scope
from echoic.auth.keys import (
    NO_DIGEST,
    ApiKey,
    GeneratedKey,
    KeyStoreUnavailable,
    compute_digest,
    generate_key,
)


class UtcSeconds(TypeDecorator[datetime]):
    """A moment as whole seconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002  # SQLAlchemy's signature
    ) -> int | None:  # SQLAlchemy's signature
        """Return the seconds of a moment with a zone."""
        return None if value is None else int(value.timestamp())

    def process_result_value(
        self,
        value: int | None,
        dialect: Dialect,  # noqa: ARG002  # SQLAlchemy's signature
    ) -> datetime | None:  # SQLAlchemy's signature
        """Return the moment, in UTC."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


_METADATA: Final = MetaData()
USERS: Final = Table("echoic_users", _METADATA, Column("name", String), Column("tier", String))
KEYS: Final = Table(
    "echoic_keys",
    _METADATA,
    Column("id", String),
    Column("digest", String),
    Column("user_name", String),
    Column("rights", String),
    Column("created", UtcSeconds),
    Column("expires", UtcSeconds),
    Column("revoked", UtcSeconds),
    Column("last_used", UtcSeconds),
)
_APPLIED_MIGRATIONS: Final = Table("echoic_schema", _METADATA, Column("step", BigInteger))

_CREATE_MIGRATIONS_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS echoic_schema (step BIGINT NOT NULL PRIMARY KEY)"
)
_MIGRATIONS: Final = (
    (
        "CREATE TABLE echoic_users (name VARCHAR(128) NOT NULL PRIMARY KEY, tier VARCHAR(32) NOT NULL)",
        """CREATE TABLE echoic_keys (
            id VARCHAR(12) NOT NULL PRIMARY KEY,
            digest VARCHAR(64) NOT NULL,
            user_name VARCHAR(128) NOT NULL REFERENCES echoic_users (name),
            rights VARCHAR(64) NOT NULL,
            created BIGINT NOT NULL,
            expires BIGINT,
            revoked BIGINT,
            last_used BIGINT
        )""",
    ),
)
#: The step that this version's tables stand at.
LATEST_SCHEMA_VERSION: Final = len(_MIGRATIONS)


def create_migrations_table(connection: Connection) -> None:
    """Make the table that remembers which steps were taken."""
    connection.execute(text(_CREATE_MIGRATIONS_TABLE))


def read_schema_version(connection: Connection) -> int:
    """Return the number of the last step that was taken; 0: none."""
    return int(
        connection.execute(select(func.coalesce(func.max(_APPLIED_MIGRATIONS.c.step), 0))).scalar_one()
    )


def apply_migration(connection: Connection, version: int) -> None:
    """Take one step, from 1, within the transaction of ``connection``.

    Its number is noted first: of two processes that begin at once one then waits for the other.

    Raises:
        sqlalchemy.exc.IntegrityError: Another process took it.
    """
    connection.execute(insert(_APPLIED_MIGRATIONS).values(step=version))
    for statement in _MIGRATIONS[version - 1]:
        connection.execute(text(statement))


#: The tier of a new user for whom none is named.
NEW_USER_TIER: Final = "standard"
#: Seconds after which a database that does not answer counts as away.
DATABASE_TIMEOUT_SECONDS: Final = 5.0
_MAX_ATTEMPTS: Final = 3
#: What every file of SQLite begins with.
#: Source: the database file format of SQLite, section 1.3.1.
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
#: Readers and a writer do not wait for each other; a writer waits for another.
_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={round(DATABASE_TIMEOUT_SECONDS * 1000) - 500}",
)


class TierMismatch(Exception):
    """A user has another tier than the one that was named.

    Args:
        tier: The one that the user has.
    """

    def __init__(self, tier: str) -> None:
        super().__init__(tier)
        self.tier = tier


class KeyDatabase:
    """A store of keys in an SQL database; ``open`` it first, and ``close`` it.

    Each method raises KeyStoreUnavailable where the database cannot be asked.

    Args:
        location: A file of SQLite, or a URL of SQLAlchemy with an asynchronous driver.

    Raises:
        KeyStoreUnavailable: There is no such driver here.
    """

    def __init__(self, location: str) -> None:
        url = _parse_url(location)
        self._sqlite_file = (
            Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        )
        self._sql_engine = _create_sql_engine(url)

    async def open(self) -> None:
        """Make the tables, or bring them up to this version; may be called again."""
        if self._sqlite_file is not None:
            _create_private_file(self._sqlite_file)
            _check_sqlite_file(self._sqlite_file)
        for left in reversed(range(_MAX_ATTEMPTS)):
            try:
                await self._migrate_schema()
            except KeyStoreUnavailable as problem:
                if not (left and isinstance(problem.__cause__, SQLAlchemyError)):
                    raise
            else:
                return

    async def check_access(self) -> None:
        """Return if it can be opened; makes and changes nothing."""
        if self._sqlite_file is None:
            async with self._begin_transaction() as database:
                await database.execute(select(literal(1)))
        elif self._sqlite_file.exists():
            _check_permissions(self._sqlite_file, os.R_OK | os.W_OK)
            _check_sqlite_file(self._sqlite_file)
        else:
            there = next(folder for folder in self._sqlite_file.absolute().parents if folder.exists())
            _check_permissions(there, os.W_OK | os.X_OK)

    async def close(self) -> None:
        """Leave the database."""
        await self._sql_engine.dispose()

    async def create_key(
        self,
        user: str,
        tier: str | None = None,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        expires: datetime | None = None,
    ) -> tuple[GeneratedKey, ApiKey]:
        """Return a new key for a user, and what is kept of it; a user that is new is made too.

        Args:
            user: Whose.
            tier: The user's tier, or None: the one that the user has, or ``NEW_USER_TIER``.
            scopes: What the key may be used for.
            expires: When it stops to count, or None: never.

        Raises:
            OtherTier: The user has another.
        """
        new = generate_key()
        now = datetime.now(UTC).replace(microsecond=0)
        async with self._begin_transaction() as database:
            theirs = await database.scalar(select(USERS.c.tier).where(USERS.c.name == user))
            if theirs is None:
                theirs = tier or NEW_USER_TIER
                await database.execute(insert(USERS).values(name=user, tier=theirs))
            elif tier not in (None, theirs):
                raise TierMismatch(theirs)
            key = ApiKey(new.id, compute_digest(new.text), user, theirs, now, scopes, expires)
            await database.execute(insert(KEYS).values(_to_row(key)))
        return new, key

    async def find_key(self, key_id: str) -> ApiKey | None:
        """Return the key with this id; that there is none takes as long to find."""
        async with self._begin_transaction() as database:
            row = (await database.execute(_KEY_QUERY, {"name": key_id})).one()
        key = _from_row(row)
        return None if row.found is None else key

    async def find_keys(self, key_ids: Collection[str]) -> dict[str, ApiKey]:
        """Return those of these ids that there are."""
        return {key.id: key for key in await self._fetch_keys(_SELECT_KEYS.where(KEYS.c.id.in_(key_ids)))}

    async def list_keys(self, user: str | None = None) -> list[ApiKey]:
        """Return the keys of a user, or of all, the oldest first."""
        wanted = _SELECT_KEYS.order_by(KEYS.c.created, KEYS.c.id)
        return await self._fetch_keys(wanted if user is None else wanted.where(KEYS.c.user_name == user))

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; return False if there is none with this id. Twice is as good as once."""
        now = datetime.now(UTC)
        async with self._begin_transaction() as database:
            await database.execute(
                update(KEYS).where(and_(KEYS.c.id == key_id, KEYS.c.revoked.is_(None))).values(revoked=now)
            )
            return await database.scalar(select(KEYS.c.id).where(KEYS.c.id == key_id)) is not None

    async def set_tier(self, user: str, tier: str) -> bool:
        """Give a user, and so all the user's keys, a tier; return False if there is no such user."""
        async with self._begin_transaction() as database:
            done = await database.execute(update(USERS).where(USERS.c.name == user).values(tier=tier))
            return done.rowcount > 0

    async def record_use(self, key_id: str, used_at: datetime) -> None:
        """Note that a key was used; earlier than what is noted changes nothing."""
        later = or_(KEYS.c.last_used.is_(None), KEYS.c.last_used < used_at)
        async with self._begin_transaction() as database:
            await database.execute(
                update(KEYS).where(and_(KEYS.c.id == key_id, later)).values(last_used=used_at)
            )

    async def _fetch_keys(self, query: Select[tuple[object, ...]]) -> list[ApiKey]:
        async with self._begin_transaction() as database:
            rows = (await database.execute(query)).all()
        return [_from_row(row) for row in rows]

    async def _migrate_schema(self) -> None:
        async with self._begin_transaction() as database:
            await database.run_sync(create_migrations_table)
        async with self._begin_transaction() as database:
            done = await database.run_sync(read_schema_version)
        if done > LATEST_SCHEMA_VERSION:
            raise KeyStoreUnavailable("The store of keys was written by a newer version of echoic.")
        for number in range(done + 1, LATEST_SCHEMA_VERSION + 1):
            async with self._begin_transaction() as database:
                await database.run_sync(apply_migration, number)

    @asynccontextmanager
    async def _begin_transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self._sql_engine.begin() as database:
                yield database
        except IntegrityError as error:
            raise KeyStoreUnavailable("The store of keys was changed by another process.") from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise KeyStoreUnavailable(
                f"The store of keys cannot be reached ({_find_error_name(error)})."
            ) from error


_SELECT_KEYS: Final = select(KEYS, USERS.c.tier).join(USERS, USERS.c.name == KEYS.c.user_name)


def _build_key_query() -> Select[tuple[object, ...]]:
    """Return the query for the key with an id: one row, with or without such a key, made of as much."""
    wanted = select(bindparam("name", type_=String).label("id")).subquery("wanted")
    nobody = {
        "digest": NO_DIGEST.hex(),
        "user_name": "",
        "rights": " ".join(sorted(ALL_SCOPES)),
        **dict.fromkeys(("created", "expires", "revoked", "last_used"), datetime.fromtimestamp(0, UTC)),
    }
    filled = [
        case((KEYS.c.id.is_(None), literal(value, KEYS.c[name].type)), else_=KEYS.c[name]).label(name)
        for name, value in nobody.items()
    ]
    return select(
        wanted.c.id, KEYS.c.id.label("found"), *filled, func.coalesce(USERS.c.tier, "").label("tier")
    ).select_from(
        wanted.outerjoin(KEYS, KEYS.c.id == wanted.c.id).outerjoin(USERS, USERS.c.name == KEYS.c.user_name)
    )


_KEY_QUERY: Final = _build_key_query()


def _parse_url(location: str) -> URL:
    if "://" not in location:
        return make_url("sqlite+aiosqlite://").set(database=str(Path(location).expanduser()))
    try:
        url = make_url(location)
    except SQLAlchemyError:
        raise KeyStoreUnavailable("The place of the keys is no URL of a database.") from None
    return url.set(drivername="sqlite+aiosqlite") if url.drivername == "sqlite" else url


def _create_sql_engine(url: URL) -> AsyncEngine:
    try:
        # A file is there or not; a connection over a network may have died since it was used.
        is_remote = url.get_backend_name() != "sqlite"
        engine = create_async_engine(url, pool_pre_ping=is_remote, hide_parameters=True)
    except (SQLAlchemyError, ImportError):
        driver = url.drivername
        raise KeyStoreUnavailable(
            f"Keys cannot be kept by {driver!r} here: it must be an asynchronous driver that is "
            "installed, such as sqlite+aiosqlite or postgresql+asyncpg."
        ) from None
    if not is_remote:
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _create_private_file(file: Path) -> None:
    """Make an empty file, and its folder, that only their owner may read, if they are not there."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        reason = (error.strerror or "it cannot be written").lower()
        raise KeyStoreUnavailable(f"The keys cannot be kept in {file}: {reason}.") from error


def _check_permissions(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise KeyStoreUnavailable(f"The keys cannot be kept: {path} may not be written here.")


def _check_sqlite_file(file: Path) -> None:
    """Return if a file is empty or begins as SQLite's do."""
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(_SQLITE_MAGIC))
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise KeyStoreUnavailable(f"The keys in {file.name} cannot be read: {reason}.") from error
    if begin and begin != _SQLITE_MAGIC:
        raise KeyStoreUnavailable(f"{file.name}, where the keys should be, is not a database.")


def _find_error_name(error: BaseException) -> str:
    """Return the name of what a driver raised; its text may name what is secret."""
    cause = getattr(error, "orig", None) or error
    return type(cause.__cause__ or cause).__name__


def _to_row(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "digest": key.digest.hex(),
        "user_name": key.user,
        "rights": " ".join(sorted(key.scopes)),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "last_used": key.last_used,
    }


def _from_row(row: Row[tuple[object, ...]]) -> ApiKey:
    try:
        digest = bytes.fromhex(row.digest)
    except ValueError as error:
        raise KeyStoreUnavailable("The store of keys holds what is no key.") from error
    return ApiKey(
        id=row.id,
        digest=digest,
        user=row.user_name,
        tier=row.tier,
        created=row.created,
        scopes=frozenset(right for right in Scope if right in row.rights.split()),
        expires=row.expires,
        revoked=row.revoked,
        last_used=row.last_used,
    )

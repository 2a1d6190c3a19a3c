"""A key store in an SQL database: tables, schema migrations and queries.

Migrations are plain SQL for SQLite, PostgreSQL and MySQL alike. A published migration never changes: a later
schema is another one. Times are stored as whole seconds since 1970 (UTC), digests as hexadecimal text.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Dialect, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeDecorator

from echoic.auth.identity import ALL_SCOPES, Scope
from echoic.auth.key_store import ApiKey, KeyStoreUnavailable
from echoic.auth.keys import NO_DIGEST, GeneratedKey, compute_digest, generate_key

#: The tier of new users by default.
NEW_USER_TIER: Final = "standard"
#: Seconds after which a database that does not answer counts as unavailable.
DATABASE_TIMEOUT_SECONDS: Final = 5.0
_MAX_ATTEMPTS: Final = 3
#: The first bytes of a SQLite file.
#: Source: the database file format of SQLite, section 1.3.1.
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
#: WAL: readers and a writer do not block each other; concurrent writers wait.
_SQLITE_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={round(DATABASE_TIMEOUT_SECONDS * 1000) - 500}",
)


class UtcSeconds(TypeDecorator[datetime]):
    """An aware datetime, stored as whole seconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002  # SQLAlchemy's signature
    ) -> int | None:
        """Convert an aware datetime to seconds."""
        return None if value is None else int(value.timestamp())

    def process_result_value(
        self,
        value: int | None,
        dialect: Dialect,  # noqa: ARG002  # SQLAlchemy's signature
    ) -> datetime | None:
        """Convert seconds to a datetime in UTC."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


_METADATA: Final = sa.MetaData()
USERS: Final = sa.Table("echoic_users", _METADATA, sa.Column("name", sa.String), sa.Column("tier", sa.String))
KEYS: Final = sa.Table(
    "echoic_keys",
    _METADATA,
    sa.Column("id", sa.String),
    sa.Column("digest", sa.String),
    sa.Column("user_name", sa.String),
    sa.Column("rights", sa.String),  # the scopes of the key
    sa.Column("created", UtcSeconds),
    sa.Column("expires", UtcSeconds),
    sa.Column("revoked", UtcSeconds),
    sa.Column("last_used", UtcSeconds),
)
_APPLIED_MIGRATIONS: Final = sa.Table("echoic_schema", _METADATA, sa.Column("step", sa.BigInteger))

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
#: The schema version of this code: the number of migrations.
LATEST_SCHEMA_VERSION: Final = len(_MIGRATIONS)


_SELECT_KEYS: Final = sa.select(KEYS, USERS.c.tier).join(USERS, USERS.c.name == KEYS.c.user_name)


def _build_key_query() -> sa.Select[tuple[object, ...]]:
    """Return the query for a key by its id; it returns one row of the same size even if there is no key."""
    requested = sa.select(sa.bindparam("name", type_=sa.String).label("id")).subquery("requested")
    placeholders = {
        "digest": NO_DIGEST.hex(),
        "user_name": "",
        "rights": " ".join(sorted(ALL_SCOPES)),
        **dict.fromkeys(("created", "expires", "revoked", "last_used"), datetime.fromtimestamp(0, UTC)),
    }
    columns = [
        sa.case((KEYS.c.id.is_(None), sa.literal(value, KEYS.c[name].type)), else_=KEYS.c[name]).label(name)
        for name, value in placeholders.items()
    ]
    return sa.select(
        requested.c.id, KEYS.c.id.label("found"), *columns, sa.func.coalesce(USERS.c.tier, "").label("tier")
    ).select_from(
        requested.outerjoin(KEYS, KEYS.c.id == requested.c.id).outerjoin(
            USERS, USERS.c.name == KEYS.c.user_name
        )
    )


_KEY_QUERY: Final = _build_key_query()


def create_migrations_table(connection: Connection) -> None:
    """Create the table of applied migrations if it does not exist."""
    connection.execute(sa.text(_CREATE_MIGRATIONS_TABLE))


def read_schema_version(connection: Connection) -> int:
    """Return the number of the last applied migration, or 0 if there is none."""
    return int(
        connection.execute(
            sa.select(sa.func.coalesce(sa.func.max(_APPLIED_MIGRATIONS.c.step), 0))
        ).scalar_one()
    )


def apply_migration(connection: Connection, version: int) -> None:
    """Apply one migration, counted from 1, in the connection's transaction.

    Its number is inserted first, so that of two processes that start at once one waits for the other.

    Raises:
        sqlalchemy.exc.IntegrityError: Another process has applied it.
    """
    connection.execute(sa.insert(_APPLIED_MIGRATIONS).values(step=version))
    for statement in _MIGRATIONS[version - 1]:
        connection.execute(sa.text(statement))


class TierMismatch(Exception):
    """A user has a tier other than the given one.

    Args:
        tier: The user's tier.
    """

    def __init__(self, tier: str) -> None:
        super().__init__(tier)
        self.tier = tier


class KeyDatabase:
    """A key store in an SQL database; call ``open`` first and ``close`` last.

    Each method raises KeyStoreUnavailable if the database cannot be used.

    Args:
        location: A SQLite file, or an SQLAlchemy URL with an asynchronous driver.

    Raises:
        KeyStoreUnavailable: The URL is invalid, or its driver is not installed.
    """

    def __init__(self, location: str) -> None:
        url = _parse_url(location)
        self._sqlite_file = (
            Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        )
        self._sql_engine = _create_sql_engine(url)

    async def open(self) -> None:
        """Create or migrate the tables; idempotent."""
        if self._sqlite_file is not None:
            _create_private_file(self._sqlite_file)
            _check_sqlite_file(self._sqlite_file)
        for attempts_left in reversed(range(_MAX_ATTEMPTS)):
            try:
                await self._migrate_schema()
            except KeyStoreUnavailable as problem:
                if not (attempts_left and isinstance(problem.__cause__, SQLAlchemyError)):
                    raise
            else:
                return

    async def check_access(self) -> None:
        """Check that the database can be opened, without creating or changing anything."""
        if self._sqlite_file is None:
            async with self._begin_transaction() as database:
                await database.execute(sa.select(sa.literal(1)))
        elif self._sqlite_file.exists():
            _check_permissions(self._sqlite_file, os.R_OK | os.W_OK)
            _check_sqlite_file(self._sqlite_file)
        else:
            folder = next(parent for parent in self._sqlite_file.absolute().parents if parent.exists())
            _check_permissions(folder, os.W_OK | os.X_OK)

    async def close(self) -> None:
        """Close the connections."""
        await self._sql_engine.dispose()

    async def create_key(
        self,
        user: str,
        tier: str | None = None,
        *,
        scopes: frozenset[Scope] = ALL_SCOPES,
        expires: datetime | None = None,
    ) -> tuple[GeneratedKey, ApiKey]:
        """Create a key, and its user if there is none; return the key and its record.

        Args:
            user: The user's name.
            tier: The user's tier, or None: the existing one, or ``NEW_USER_TIER``.
            scopes: What the key permits.
            expires: When the key becomes invalid, or None: never.

        Raises:
            TierMismatch: The user exists with another tier.
        """
        new = generate_key()
        now = datetime.now(UTC).replace(microsecond=0)
        async with self._begin_transaction() as database:
            user_tier = await database.scalar(sa.select(USERS.c.tier).where(USERS.c.name == user))
            if user_tier is None:
                user_tier = tier or NEW_USER_TIER
                await database.execute(sa.insert(USERS).values(name=user, tier=user_tier))
            elif tier not in (None, user_tier):
                raise TierMismatch(user_tier)
            key = ApiKey(new.id, compute_digest(new.text), user, user_tier, now, scopes, expires)
            await database.execute(sa.insert(KEYS).values(_to_row(key)))
        return new, key

    async def find_key(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, or None; both take the same time."""
        async with self._begin_transaction() as database:
            row = (await database.execute(_KEY_QUERY, {"name": key_id})).one()
        key = _from_row(row)
        return None if row.found is None else key

    async def find_keys(self, key_ids: Collection[str]) -> dict[str, ApiKey]:
        """Return the existing keys among these ids, by id."""
        return {key.id: key for key in await self._fetch_keys(_SELECT_KEYS.where(KEYS.c.id.in_(key_ids)))}

    async def list_keys(self, user: str | None = None) -> list[ApiKey]:
        """Return the keys of a user, or of all users, oldest first."""
        query = _SELECT_KEYS.order_by(KEYS.c.created, KEYS.c.id)
        return await self._fetch_keys(query if user is None else query.where(KEYS.c.user_name == user))

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; return False if it does not exist. Idempotent."""
        now = datetime.now(UTC)
        async with self._begin_transaction() as database:
            await database.execute(
                sa.update(KEYS)
                .where(sa.and_(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)))
                .values(revoked=now)
            )
            return await database.scalar(sa.select(KEYS.c.id).where(KEYS.c.id == key_id)) is not None

    async def set_tier(self, user: str, tier: str) -> bool:
        """Set the tier of a user and so of all the user's keys; return False if the user does not exist."""
        async with self._begin_transaction() as database:
            result = await database.execute(sa.update(USERS).where(USERS.c.name == user).values(tier=tier))
            return result.rowcount > 0

    async def record_use(self, key_id: str, used_at: datetime) -> None:
        """Record a key's use, unless a later one is recorded."""
        is_later = sa.or_(KEYS.c.last_used.is_(None), KEYS.c.last_used < used_at)
        async with self._begin_transaction() as database:
            await database.execute(
                sa.update(KEYS).where(sa.and_(KEYS.c.id == key_id, is_later)).values(last_used=used_at)
            )

    async def _fetch_keys(self, query: sa.Select[tuple[object, ...]]) -> list[ApiKey]:
        async with self._begin_transaction() as database:
            rows = (await database.execute(query)).all()
        return [_from_row(row) for row in rows]

    async def _migrate_schema(self) -> None:
        async with self._begin_transaction() as database:
            await database.run_sync(create_migrations_table)
        async with self._begin_transaction() as database:
            version = await database.run_sync(read_schema_version)
        if version > LATEST_SCHEMA_VERSION:
            raise KeyStoreUnavailable(
                "The key store was written by a newer version of echoic. Update echoic."
            )
        for number in range(version + 1, LATEST_SCHEMA_VERSION + 1):
            async with self._begin_transaction() as database:
                await database.run_sync(apply_migration, number)

    @asynccontextmanager
    async def _begin_transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT_SECONDS), self._sql_engine.begin() as database:
                yield database
        except IntegrityError as error:
            raise KeyStoreUnavailable("Another process changed the key store.") from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise KeyStoreUnavailable(
                f"The key store cannot be reached ({_find_error_name(error)})."
            ) from error


def _parse_url(location: str) -> URL:
    if "://" not in location:
        return make_url("sqlite+aiosqlite://").set(database=str(Path(location).expanduser()))
    try:
        url = make_url(location)
    except SQLAlchemyError:
        raise KeyStoreUnavailable("[Auth] keys_db is not a database URL.") from None
    return url.set(drivername="sqlite+aiosqlite") if url.drivername == "sqlite" else url


def _create_sql_engine(url: URL) -> AsyncEngine:
    try:
        # A connection over a network may have been lost since its last use.
        is_remote = url.get_backend_name() != "sqlite"
        engine = create_async_engine(url, pool_pre_ping=is_remote, hide_parameters=True)
    except (SQLAlchemyError, ImportError):
        driver = url.drivername
        raise KeyStoreUnavailable(
            f"The database driver {driver!r} cannot be used. Install and name an asynchronous driver, such "
            "as sqlite+aiosqlite or postgresql+asyncpg."
        ) from None
    if not is_remote:
        sa.event.listen(engine.sync_engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _create_private_file(file: Path) -> None:
    """Create an empty file and its folder, unless they exist; only their owner may read them."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        reason = (error.strerror or "it cannot be written").lower()
        raise KeyStoreUnavailable(f"The key store {file} cannot be created: {reason}.") from error


def _check_permissions(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        raise KeyStoreUnavailable(f"The key store cannot be created: {path} is not writable.")


def _check_sqlite_file(file: Path) -> None:
    """Check that a file is empty or a SQLite database."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(_SQLITE_MAGIC))
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise KeyStoreUnavailable(f"The key store {file.name} cannot be read: {reason}.") from error
    if magic and magic != _SQLITE_MAGIC:
        raise KeyStoreUnavailable(f"The key store {file.name} is not a SQLite database.")


def _find_error_name(error: BaseException) -> str:
    """Return the class name of a driver's exception; its text may contain secrets."""
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


def _from_row(row: sa.Row[tuple[object, ...]]) -> ApiKey:
    try:
        digest = bytes.fromhex(row.digest)
    except ValueError as error:
        raise KeyStoreUnavailable("The key store contains an invalid key.") from error
    return ApiKey(
        id=row.id,
        digest=digest,
        user=row.user_name,
        tier=row.tier,
        created=row.created,
        scopes=frozenset(scope for scope in Scope if scope in row.rights.split()),
        expires=row.expires,
        revoked=row.revoked,
        last_used=row.last_used,
    )

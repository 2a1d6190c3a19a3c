"""The tables that keys are kept in, and the steps that lead to them from any earlier version.

A step is plain SQL that SQLite, PostgreSQL and MySQL take alike, and is never changed once it was
published: what comes later is another step. Times are whole seconds since 1970 (UTC), digests hexadecimal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import BigInteger, Column, MetaData, String, Table, func, insert, select, text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Dialect


class UtcSeconds(TypeDecorator[datetime]):
    """A moment as whole seconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Return the seconds of a moment with a zone."""
        return None if value is None else int(value.timestamp())

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
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

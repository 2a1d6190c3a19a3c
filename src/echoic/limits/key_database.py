"""Keys in an SQL database: a file of SQLite by default, whatever SQLAlchemy reaches where wanted."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import String, and_, bindparam, case, event, func, insert, literal, or_, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from echoic.limits.identity import ALL_RIGHTS, Right
from echoic.limits.key_tables import KEYS, NEWEST_STEP, USERS, begin_steps, steps_taken, take_step
from echoic.limits.keys import Key, KeyStoreUnavailable
from echoic.limits.secret import NO_DIGEST, digest_of, make_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from sqlalchemy import Row, Select
    from sqlalchemy.engine import URL
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from echoic.limits.secret import NewKey

#: The tier of a new user for whom none is named.
DEFAULT_TIER: Final = "standard"
#: Seconds after which a database that does not answer counts as away.
PATIENCE: Final = 5.0
_TRIES: Final = 3
#: What every file of SQLite begins with.
#: Source: the database file format of SQLite, section 1.3.1.
_MAGIC: Final = b"SQLite format 3\0"
#: Readers and a writer do not wait for each other; a writer waits for another.
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={round(PATIENCE * 1000) - 500}",
)


class OtherTier(Exception):
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
        place: A file of SQLite, or a URL of SQLAlchemy with an asynchronous driver.

    Raises:
        KeyStoreUnavailable: There is no such driver here.
    """

    def __init__(self, place: str) -> None:
        url = _url_of(place)
        self._file = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        self._engine = _engine_of(url)

    async def open(self) -> None:
        """Make the tables, or bring them up to this version; may be called again."""
        if self._file is not None:
            _make_private(self._file)
            _check_kind(self._file)
        for left in reversed(range(_TRIES)):
            try:
                await self._bring_up_to_date()
            except KeyStoreUnavailable as problem:
                if not (left and isinstance(problem.__cause__, SQLAlchemyError)):
                    raise
            else:
                return

    async def look(self) -> None:
        """Return if it can be opened; makes and changes nothing."""
        if self._file is None:
            async with self._transaction() as database:
                await database.execute(select(literal(1)))
        elif self._file.exists():
            _check_access(self._file, os.R_OK | os.W_OK)
            _check_kind(self._file)
        else:
            there = next(folder for folder in self._file.absolute().parents if folder.exists())
            _check_access(there, os.W_OK | os.X_OK)

    async def close(self) -> None:
        """Leave the database."""
        await self._engine.dispose()

    async def create(
        self,
        user: str,
        tier: str | None = None,
        *,
        rights: frozenset[Right] = ALL_RIGHTS,
        expires: datetime | None = None,
    ) -> tuple[NewKey, Key]:
        """Return a new key for a user, and what is kept of it; a user that is new is made too.

        Args:
            user: Whose.
            tier: The user's tier, or None: the one that the user has, or ``DEFAULT_TIER``.
            rights: What the key may be used for.
            expires: When it stops to count, or None: never.

        Raises:
            OtherTier: The user has another.
        """
        new = make_key()
        now = datetime.now(UTC).replace(microsecond=0)
        async with self._transaction() as database:
            theirs = await database.scalar(select(USERS.c.tier).where(USERS.c.name == user))
            if theirs is None:
                theirs = tier or DEFAULT_TIER
                await database.execute(insert(USERS).values(name=user, tier=theirs))
            elif tier not in (None, theirs):
                raise OtherTier(theirs)
            key = Key(new.id, digest_of(new.text), user, theirs, now, rights, expires)
            await database.execute(insert(KEYS).values(_row_of(key)))
        return new, key

    async def find(self, name: str) -> Key | None:
        """Return the key with this id; that there is none takes as long to find."""
        async with self._transaction() as database:
            row = (await database.execute(_ONE_KEY, {"name": name})).one()
        key = _key_of(row)
        return None if row.found is None else key

    async def find_all(self, names: Collection[str]) -> dict[str, Key]:
        """Return those of these ids that there are."""
        return {key.id: key for key in await self._asked(_KEYS_OF_USERS.where(KEYS.c.id.in_(names)))}

    async def list_keys(self, user: str | None = None) -> list[Key]:
        """Return the keys of a user, or of all, the oldest first."""
        wanted = _KEYS_OF_USERS.order_by(KEYS.c.created, KEYS.c.id)
        return await self._asked(wanted if user is None else wanted.where(KEYS.c.user_name == user))

    async def revoke(self, name: str) -> bool:
        """Revoke a key; return False if there is none with this id. Twice is as good as once."""
        now = datetime.now(UTC)
        async with self._transaction() as database:
            await database.execute(
                update(KEYS).where(and_(KEYS.c.id == name, KEYS.c.revoked.is_(None))).values(revoked=now)
            )
            return await database.scalar(select(KEYS.c.id).where(KEYS.c.id == name)) is not None

    async def set_tier(self, user: str, tier: str) -> bool:
        """Give a user, and so all the user's keys, a tier; return False if there is no such user."""
        async with self._transaction() as database:
            done = await database.execute(update(USERS).where(USERS.c.name == user).values(tier=tier))
            return done.rowcount > 0

    async def used(self, name: str, when: datetime) -> None:
        """Note that a key was used; earlier than what is noted changes nothing."""
        later = or_(KEYS.c.last_used.is_(None), KEYS.c.last_used < when)
        async with self._transaction() as database:
            await database.execute(update(KEYS).where(and_(KEYS.c.id == name, later)).values(last_used=when))

    async def _asked(self, wanted: Select[tuple[object, ...]]) -> list[Key]:
        async with self._transaction() as database:
            rows = (await database.execute(wanted)).all()
        return [_key_of(row) for row in rows]

    async def _bring_up_to_date(self) -> None:
        async with self._transaction() as database:
            await database.run_sync(begin_steps)
        async with self._transaction() as database:
            done = await database.run_sync(steps_taken)
        if done > NEWEST_STEP:
            raise KeyStoreUnavailable("The store of keys was written by a newer version of echoic.")
        for number in range(done + 1, NEWEST_STEP + 1):
            async with self._transaction() as database:
                await database.run_sync(take_step, number)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with asyncio.timeout(PATIENCE), self._engine.begin() as database:
                yield database
        except IntegrityError as error:
            raise KeyStoreUnavailable("The store of keys was changed by another process.") from error
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise KeyStoreUnavailable(f"The store of keys cannot be reached ({_kind(error)}).") from error


_KEYS_OF_USERS: Final = select(KEYS, USERS.c.tier).join(USERS, USERS.c.name == KEYS.c.user_name)


def _one_key() -> Select[tuple[object, ...]]:
    """Return the query for the key with an id: one row, with or without such a key, made of as much."""
    wanted = select(bindparam("name", type_=String).label("id")).subquery("wanted")
    nobody = {
        "digest": NO_DIGEST.hex(),
        "user_name": "",
        "rights": " ".join(sorted(ALL_RIGHTS)),
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


_ONE_KEY: Final = _one_key()


def _url_of(place: str) -> URL:
    if "://" not in place:
        return make_url("sqlite+aiosqlite://").set(database=str(Path(place).expanduser()))
    try:
        url = make_url(place)
    except SQLAlchemyError:
        raise KeyStoreUnavailable("The place of the keys is no URL of a database.") from None
    return url.set(drivername="sqlite+aiosqlite") if url.drivername == "sqlite" else url


def _engine_of(url: URL) -> AsyncEngine:
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
        event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _prepare(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _make_private(file: Path) -> None:
    """Make an empty file, and its folder, that only their owner may read, if they are not there."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        reason = (error.strerror or "it cannot be written").lower()
        raise KeyStoreUnavailable(f"The keys cannot be kept in {file}: {reason}.") from error


def _check_access(place: Path, mode: int) -> None:
    if not os.access(place, mode):
        raise KeyStoreUnavailable(f"The keys cannot be kept: {place} may not be written here.")


def _check_kind(file: Path) -> None:
    """Return if a file is empty or begins as SQLite's do."""
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(_MAGIC))
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise KeyStoreUnavailable(f"The keys in {file.name} cannot be read: {reason}.") from error
    if begin and begin != _MAGIC:
        raise KeyStoreUnavailable(f"{file.name}, where the keys should be, is not a database.")


def _kind(error: BaseException) -> str:
    """Return the name of what a driver raised; its text may name what is secret."""
    cause = getattr(error, "orig", None) or error
    return type(cause.__cause__ or cause).__name__


def _row_of(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "digest": key.digest.hex(),
        "user_name": key.user,
        "rights": " ".join(sorted(key.rights)),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "last_used": key.last_used,
    }


def _key_of(row: Row[tuple[object, ...]]) -> Key:
    try:
        digest = bytes.fromhex(row.digest)
    except ValueError as error:
        raise KeyStoreUnavailable("The store of keys holds what is no key.") from error
    return Key(
        id=row.id,
        digest=digest,
        user=row.user_name,
        tier=row.tier,
        created=row.created,
        rights=frozenset(right for right in Right if right in row.rights.split()),
        expires=row.expires,
        revoked=row.revoked,
        last_used=row.last_used,
    )

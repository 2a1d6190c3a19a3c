"""``echoic keys``: users' keys in the store that the server asks."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from echoic.auth.keys import ApiKey
from echoic.cli.options import JsonOption, exit_with_error, print_error

if TYPE_CHECKING:
    from echoic.auth.key_store import KeyDatabase

_T = TypeVar("_T")
_DURATION_PATTERN = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
_HOURS_PER_UNIT = {"h": 1, "d": 24, "w": 7 * 24}

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke users' keys; also while the server runs.")

UserArgument = Annotated[str, typer.Argument(help="Whose key.", show_default=False)]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--db", help="The store: a file, or a URL of SQLAlchemy.", show_default="keys_db of the settings"
    ),
]

AnyTierOption = Annotated[
    bool, typer.Option("--any-tier", help="Take a tier that the settings here do not name.")
]


@app.command()
def create(  # noqa: PLR0913  # each is an option of the command
    user: UserArgument,
    *,
    tier: Annotated[
        str | None, typer.Option(help="The user's tier.", show_default="the user's, or standard")
    ] = None,
    any_tier: AnyTierOption = False,
    expires: Annotated[
        str | None, typer.Option(help="When it stops to count: 12h, 90d, 4w, or a day such as 2031-01-31.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It opens no stream.")] = False,
    db: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it, this once."""
    from echoic.auth.identity import ALL_SCOPES, Scope
    from echoic.auth.key_store import TierMismatch
    from echoic.auth.keys import is_valid_user_name

    if not is_valid_user_name(user):
        exit_with_error("A user's name has 1 to 128 printable characters.", 2)
    _check_tier(tier, any_tier=any_tier)
    rights = frozenset({Scope.READ}) if read_only else ALL_SCOPES
    moment = None if expires is None else _parse_expiry(expires)
    try:
        new, key = _query_key_store(
            db, lambda store: store.create_key(user, tier, scopes=rights, expires=moment)
        )
    except TierMismatch as other:
        exit_with_error(
            f"{user} is of tier {other.tier}. "
            f"To change it for all keys of this user: echoic keys tier {user} {tier}"
        )
    if as_json:
        typer.echo(json.dumps(_to_row(key) | {"key": new.text}))
        return
    typer.echo(new.text)
    typer.echo(f"The key {new.id} of {user}, tier {key.tier}. It is shown only now: keep it.", err=True)


@app.command("list")
def list_keys(
    user: Annotated[str | None, typer.Argument(help="Whose keys; without one all.")] = None,
    *,
    db: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys, the oldest first; the keys themselves are kept nowhere."""
    rows = [_to_row(key) for key in _query_key_store(db, lambda store: store.list_keys(user))]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    from echoic.cli.options import print_table

    headings = ("Id", "User", "Tier", "Rights", "Created", "Expires", "Last used", "")
    print_table(headings, ([value or "" for value in row.values()] for row in rows), unbroken=("Id",))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    *,
    db: StoreOption = None,
) -> None:
    """Revoke a key: it opens no stream any more, and those that are open end within a minute."""
    if not _query_key_store(db, lambda store: store.revoke_key(name)):
        exit_with_error("There is no key with this id; `echoic keys list` shows those there are.")
    typer.echo(f"The key {name} is revoked.")


@app.command("tier")
def change_tier(
    user: UserArgument,
    tier: Annotated[str, typer.Argument(help="The user's tier from now on.")],
    *,
    any_tier: AnyTierOption = False,
    db: StoreOption = None,
) -> None:
    """Give a user, and so all of the user's keys, another tier; streams opened from now on have it."""
    _check_tier(tier, any_tier=any_tier)
    if not _query_key_store(db, lambda store: store.set_tier(user, tier)):
        exit_with_error(f"There is no user {user}; `echoic keys list` shows those there are.")
    typer.echo(f"{user} is of tier {tier}.")


def _query_key_store(db: str | None, query: "Callable[[KeyDatabase], Awaitable[_T]]") -> _T:
    """Return what the store of keys answers; leaves if there is none, or it cannot be asked."""
    from echoic.auth.key_store import KeyDatabase
    from echoic.auth.keys import KeyStoreUnavailable
    from echoic.cli.environment import load_settings_or_exit

    place = db or load_settings_or_exit().auth.keys_db
    if place is None:
        exit_with_error("No store of keys is set: say [Auth] keys_db (ECHOIC_KEYS_DB), or --db FILE.", 2)

    async def run() -> _T:
        store = KeyDatabase(place)
        try:
            await store.open()
            return await query(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except KeyStoreUnavailable as problem:
        exit_with_error(problem.message)


def _check_tier(tier: str | None, *, any_tier: bool) -> None:
    from echoic.auth.keys import is_valid_tier_name
    from echoic.cli.environment import load_settings_or_exit
    from echoic.quotas.tiers import FALLBACK_TIER, Tiers

    if tier is None:
        return
    if not is_valid_tier_name(tier):
        exit_with_error(
            "A tier's name has 1 to 32 of a-z, 0-9, - and _, a letter first, and is not local.", 2
        )
    known = Tiers().with_overrides(load_settings_or_exit().quota.tier_limits).limits_by_name
    if tier in known:
        return
    if not any_tier:
        names = ", ".join(name for name in known if name != "local")
        exit_with_error(
            f"No tier {tier} is set here; there are: {names}. To take it all the same: --any-tier.", 2
        )
    print_error(f"No tier {tier} is set here; until one is, its users have the limits of {FALLBACK_TIER}.")


def _parse_expiry(text: str) -> datetime:
    now = datetime.now(UTC)
    span = _DURATION_PATTERN.fullmatch(text)
    if span:
        return now + timedelta(hours=int(span[1]) * _HOURS_PER_UNIT[span[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        exit_with_error("A key may expire after 12h, 90d or 4w, or on a day such as 2031-01-31.", 2)
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment <= now:
        exit_with_error("That moment has passed.", 2)
    return moment


def _to_row(key: "ApiKey") -> dict[str, str | None]:
    def written(moment: datetime | None) -> str | None:
        return None if moment is None else moment.strftime("%Y-%m-%d %H:%M")

    standing = key.status_at(datetime.now(UTC)).value
    return {
        "id": key.id,
        "user": key.user,
        "tier": key.tier,
        "rights": " ".join(sorted(key.scopes)),
        "created": written(key.created),
        "expires": written(key.expires),
        "last_used": written(key.last_used),
        "standing": "" if standing == "good" else standing,
    }

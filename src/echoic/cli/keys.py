"""The command ``echoic keys``: creates, lists and revokes users' API keys."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from echoic.auth.key_store import ApiKey
from echoic.cli.options import JsonOption, exit_with_error, print_error

if TYPE_CHECKING:
    from echoic.auth.key_database import KeyDatabase

_T = TypeVar("_T")
_DURATION_PATTERN = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
_HOURS_PER_UNIT = {"h": 1, "d": 24, "w": 7 * 24}

app = typer.Typer(
    no_args_is_help=True, help="Create, list and revoke users' API keys, also while the server runs."
)

UserArgument = Annotated[str, typer.Argument(help="The user.", show_default=False)]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--db", help="The key store: a file, or an SQLAlchemy URL.", show_default="keys_db of the settings"
    ),
]

AnyTierOption = Annotated[
    bool, typer.Option("--any-tier", help="Accept a tier that is not in the settings of this machine.")
]


@app.command()
def create(  # noqa: PLR0913  # each is an option of the command
    user: UserArgument,
    *,
    tier: Annotated[
        str | None, typer.Option(help="The user's tier.", show_default="that of the user, or standard")
    ] = None,
    any_tier: AnyTierOption = False,
    expires: Annotated[
        str | None, typer.Option(help="When the key expires: 12h, 90d, 4w, or a day such as 2031-01-31.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="The key cannot open streams.")] = False,
    db: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it; it cannot be shown again."""
    from echoic.auth.identity import ALL_SCOPES, Scope
    from echoic.auth.key_database import TierMismatch
    from echoic.auth.keys import is_valid_user_name

    if not is_valid_user_name(user):
        exit_with_error("A user's name has 1 to 128 printable characters.", 2)
    _check_tier(tier, any_tier=any_tier)
    scopes = frozenset({Scope.READ}) if read_only else ALL_SCOPES
    expiry = None if expires is None else _parse_expiry(expires)
    try:
        new, key = _query_key_store(
            db, lambda store: store.create_key(user, tier, scopes=scopes, expires=expiry)
        )
    except TierMismatch as mismatch:
        exit_with_error(
            f"{user} has the tier {mismatch.tier}. "
            f"To change it for all keys of this user: echoic keys tier {user} {tier}"
        )
    if as_json:
        typer.echo(json.dumps(_to_row(key) | {"key": new.text}))
        return
    typer.echo(new.text)
    typer.echo(
        f"Created key {new.id} of {user}, tier {key.tier}. Store it now: it cannot be shown again.", err=True
    )


@app.command("list")
def list_keys(
    user: Annotated[str | None, typer.Argument(help="Only the keys of this user.")] = None,
    *,
    db: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the keys, oldest first; the store has no secrets, so none is shown."""
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
    """Revoke a key: it opens no streams any more, and its open streams end within a minute."""
    if not _query_key_store(db, lambda store: store.revoke_key(name)):
        exit_with_error("There is no key with this id. To list the keys: echoic keys list")
    typer.echo(f"Revoked key {name}.")


@app.command("tier")
def change_tier(
    user: UserArgument,
    tier: Annotated[str, typer.Argument(help="The new tier.")],
    *,
    any_tier: AnyTierOption = False,
    db: StoreOption = None,
) -> None:
    """Change the tier of a user and of all the user's keys; open streams keep the old one."""
    _check_tier(tier, any_tier=any_tier)
    if not _query_key_store(db, lambda store: store.set_tier(user, tier)):
        exit_with_error(f"There is no user {user}. To list the users: echoic keys list")
    typer.echo(f"{user} has the tier {tier}.")


def _query_key_store(db: str | None, query: "Callable[[KeyDatabase], Awaitable[_T]]") -> _T:
    """Run a query on the key store; exits if none is configured or it is not available."""
    from echoic.auth.key_database import KeyDatabase
    from echoic.auth.key_store import KeyStoreUnavailable
    from echoic.cli.environment import load_settings_or_exit

    location = db or load_settings_or_exit().auth.keys_db
    if location is None:
        exit_with_error(
            "No key store is configured. Set [Auth] keys_db (ECHOIC_KEYS_DB), or pass --db FILE.", 2
        )

    async def run_query() -> _T:
        store = KeyDatabase(location)
        try:
            await store.open()
            return await query(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run_query())
    except KeyStoreUnavailable as error:
        exit_with_error(error.message)


def _check_tier(tier: str | None, *, any_tier: bool) -> None:
    """Exit if a tier is invalid or unknown here; with ``any_tier`` an unknown one is only a warning."""
    from echoic.auth.keys import is_valid_tier_name
    from echoic.cli.environment import load_settings_or_exit
    from echoic.quotas.tiers import FALLBACK_TIER, Tiers

    if tier is None:
        return
    if not is_valid_tier_name(tier):
        exit_with_error(
            "The name of a tier has 1 to 32 of a-z, 0-9, - and _, begins with a letter, and is not local.",
            2,
        )
    known = Tiers().with_overrides(load_settings_or_exit().quota.tier_limits).limits_by_name
    if tier in known:
        return
    if not any_tier:
        names = ", ".join(name for name in known if name != "local")
        exit_with_error(
            f"There is no tier {tier} in the settings, only: {names}. To use it anyway: --any-tier", 2
        )
    print_error(
        f"There is no tier {tier} in the settings; until then its users have the limits of {FALLBACK_TIER}."
    )


def _parse_expiry(text: str) -> datetime:
    """Parse a duration from now, or an ISO date or time; exits if it is invalid or in the past."""
    now = datetime.now(UTC)
    duration = _DURATION_PATTERN.fullmatch(text)
    if duration:
        return now + timedelta(hours=int(duration[1]) * _HOURS_PER_UNIT[duration[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        exit_with_error(
            "The expiry must be a duration such as 12h, 90d or 4w, or a day such as 2031-01-31.", 2
        )
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    if moment <= now:
        exit_with_error("The expiry is in the past.", 2)
    return moment


def _to_row(key: ApiKey) -> dict[str, str | None]:
    def format_time(moment: datetime | None) -> str | None:
        return None if moment is None else moment.strftime("%Y-%m-%d %H:%M")

    status = key.status_at(datetime.now(UTC)).value
    return {
        "id": key.id,
        "user": key.user,
        "tier": key.tier,
        "rights": " ".join(sorted(key.scopes)),
        "created": format_time(key.created),
        "expires": format_time(key.expires),
        "last_used": format_time(key.last_used),
        "standing": "" if status == "valid" else status,
    }

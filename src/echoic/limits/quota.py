"""Places and minutes: what a store of quotas keeps, and the one contract of all of them.

Time is billed in whole microseconds of audio. A stream tells its totals since it began and never differences:
what is said twice, because an answer was lost, counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

MICROSECONDS: Final = 1_000_000
_MINUTE: Final = 60 * MICROSECONDS
#: Decimals of minutes as people read them.
_MINUTE_DECIMALS: Final = 6


class StoreAway(Exception):
    """The store of quotas cannot be reached, or does not answer as one."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a user may; None: without limit.

    Attributes:
        daily: Microseconds of audio in a day (UTC).
        streams: Streams at the same time.
    """

    daily: int | None = None
    streams: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One stream among its user's.

    Attributes:
        user: Whose it is.
        lease: Its name, which no other stream ever has.
    """

    user: str
    lease: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What a user uses.

    Attributes:
        active: Streams whose leases have not run out.
        used: Microseconds of audio that count today.
    """

    active: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Admission(Usage):
    """The answer to a stream that wants a place; the numbers count it if it was admitted."""

    admitted: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """What a stream wants paid, as microseconds of its audio since it began.

    Attributes:
        place: Whose it is.
        paid: What it knows to be paid; the store's own knowledge comes first.
        heard: What it has heard. This counts in full, whatever the limit, for it is over.
        wanted: What it would like to have paid, not less than ``heard``: as far as the limit allows. Less
            than was paid gives the difference back.
        limit: The user's microseconds a day, or None.
    """

    place: Place
    paid: int
    heard: int
    wanted: int
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a claim.

    Attributes:
        paid: Microseconds of the stream that are paid, since it began.
        used: Microseconds of its user that count today.
    """

    paid: int
    used: int


class QuotaStore(Protocol):
    """Keeps places and minutes; each method is one step that nothing comes between, and may be repeated.

    Days are those of the store's clock in UTC, and so is the time of leases.
    """

    async def acquire(self, place: Place, allowance: Allowance, ttl: float) -> Admission:
        """Take a place until ``ttl`` seconds from now, if the user has one free and minutes left.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def renew(self, places: Sequence[tuple[Place, Allowance]], ttl: float) -> list[bool]:
        """Keep places for another ``ttl`` seconds; one that has run out is taken again if there is one free.

        Returns:
            Which are held; the others have run out, and their user has as many streams as allowed.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def release(self, place: Place) -> None:
        """Give a place back and forget what its stream had paid.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def charge(self, claim: Claim) -> Receipt:
        """Check and charge in one step.

        Raises:
            StoreAway: It cannot be asked.
        """

    def charge_now(self, claim: Claim) -> Receipt | None:
        """Charge without waiting, or return None: this store has to be waited for."""

    async def usage(self, user: str) -> Usage:
        """Return what a user uses now.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def ping(self) -> None:
        """Return if it is there.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def close(self) -> None:
        """Let go of connections."""


def settle(claim: Claim, paid: int, used: int) -> Receipt:
    """Return what a claim comes to: the arithmetic that every store follows.

    Args:
        claim: What is wanted.
        paid: What is paid for the stream, as the store knows it.
        used: What counts for its user today.
    """
    owed = max(0, claim.heard - paid)
    more = claim.wanted - paid - owed
    if claim.limit is not None and more > 0:
        more = min(more, max(0, claim.limit - used - owed))
    return Receipt(paid + owed + more, max(0, used + owed + more))


def to_minutes(microseconds: int) -> float:
    """Return minutes as people read them."""
    return round(microseconds / _MINUTE, _MINUTE_DECIMALS)


def from_minutes(minutes: float) -> int:
    """Return the nearest whole microseconds."""
    return round(minutes * _MINUTE)

"""Places and minutes: what a store of quotas keeps, and the one contract of all of them.

Time is billed in whole microseconds of audio. A stream tells its totals since it began and never differences:
what is said twice, because an answer was lost, counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MICROSECONDS_PER_SECOND: Final = 1_000_000
_MICROSECONDS_PER_MINUTE: Final = 60 * MICROSECONDS_PER_SECOND
#: Decimals of minutes as people read them.
_MINUTE_DECIMALS: Final = 6


class QuotaStoreUnavailable(Exception):
    """The store of quotas cannot be reached, or does not answer as one."""


@dataclass(frozen=True, slots=True)
class TierLimits:
    """What a user may; None: without limit.

    Attributes:
        daily_microseconds: Microseconds of audio in a day (UTC).
        max_streams: Streams at the same time.
    """

    daily_microseconds: int | None = None
    max_streams: int | None = None


@dataclass(frozen=True, slots=True)
class StreamLease:
    """One stream among its user's.

    Attributes:
        user: Whose it is.
        lease_id: Its name, which no other stream ever has.
    """

    user: str
    lease_id: str


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """What a user uses.

    Attributes:
        active_streams: Streams whose leases have not run out.
        used_microseconds: Microseconds of audio that count today.
    """

    active_streams: int = 0
    used_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class LeaseResult(QuotaUsage):
    """The answer to a stream that wants a place; the numbers count it if it was admitted."""

    is_admitted: bool = True


@dataclass(frozen=True, slots=True)
class Charge:
    """What a stream wants paid, as microseconds of its audio since it began.

    Attributes:
        lease: Whose it is.
        paid: What it knows to be paid; the store's own knowledge comes first.
        consumed: What it has heard. This counts in full, whatever the limit, for it is over.
        requested: What it would like to have paid, not less than ``consumed``: as far as the limit allows. Less
            than was paid gives the difference back.
        daily_limit: The user's microseconds a day, or None.
    """

    lease: StreamLease
    paid: int
    consumed: int
    requested: int
    daily_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ChargeResult:
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

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """Take a place until ``ttl_seconds`` seconds from now, if the user has one free and minutes left.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """Keep places for another ``ttl_seconds`` seconds; one that has run out is taken again if there is one free.

        Returns:
            Which are held; the others have run out, and their user has as many streams as allowed.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def release_lease(self, lease: StreamLease) -> None:
        """Give a place back and forget what its stream had paid.

        Raises:
            StoreAway: It cannot be asked.
        """

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Check and charge in one step.

        Raises:
            StoreAway: It cannot be asked.
        """

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:
        """Charge without waiting, or return None: this store has to be waited for."""

    async def read_usage(self, user: str) -> QuotaUsage:
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


def settle_charge(charge: Charge, paid: int, used: int) -> ChargeResult:
    """Return what a claim comes to: the arithmetic that every store follows.

    Args:
        charge: What is wanted.
        paid: What is paid for the stream, as the store knows it.
        used: What counts for its user today.
    """
    owed = max(0, charge.consumed - paid)
    more = charge.requested - paid - owed
    if charge.daily_limit is not None and more > 0:
        more = min(more, max(0, charge.daily_limit - used - owed))
    return ChargeResult(paid + owed + more, max(0, used + owed + more))


def to_minutes(microseconds: int) -> float:
    """Return minutes as people read them."""
    return round(microseconds / _MICROSECONDS_PER_MINUTE, _MINUTE_DECIMALS)


def from_minutes(minutes: float) -> int:
    """Return the nearest whole microseconds."""
    return round(minutes * _MICROSECONDS_PER_MINUTE)

"""The interface of quota stores, and the exact arithmetic of charges.

Audio is billed in whole microseconds. A charge states a stream's totals since it started, never differences,
so that charges are idempotent: one that is repeated because its answer was lost counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MICROSECONDS_PER_SECOND: Final = 1_000_000
_MICROSECONDS_PER_MINUTE: Final = 60 * MICROSECONDS_PER_SECOND
#: The precision of minutes in answers to clients.
_MINUTE_DECIMALS: Final = 6


class QuotaStoreUnavailable(Exception):
    """The quota store cannot be reached, or its answers are invalid."""


@dataclass(frozen=True, slots=True)
class TierLimits:
    """The limits of a tier. A limit of None means unlimited."""

    #: Microseconds of audio per day (UTC).
    daily_microseconds: int | None = None
    #: Concurrent streams.
    max_streams: int | None = None


@dataclass(frozen=True, slots=True)
class StreamLease:
    """The lease of a stream, which counts against its user's stream limit."""

    user: str
    #: A unique id, never reused.
    lease_id: str


@dataclass(frozen=True, slots=True)
class QuotaUsage:
    """The current usage of a user."""

    #: Streams whose leases have not expired.
    active_streams: int = 0
    #: Microseconds of audio that count today.
    used_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class LeaseResult(QuotaUsage):
    """The answer to a lease request; the usage includes the stream if it was admitted."""

    is_admitted: bool = True


@dataclass(frozen=True, slots=True)
class Charge:
    """A stream's request to pay for audio, in microseconds since the stream started."""

    lease: StreamLease
    #: The paid total as the stream knows it; the store's own record takes precedence.
    paid: int
    #: The consumed total; it is charged in full, even beyond the limit.
    consumed: int
    #: The requested paid total, at least ``consumed``; granted as far as the limit allows. A total below the
    #: paid one refunds the difference.
    requested: int
    #: The user's microseconds per day, or None.
    daily_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ChargeResult:
    """The result of a charge."""

    #: The paid total of the stream, in microseconds.
    paid: int
    #: The microseconds of the user that count today.
    used: int


class QuotaStore(Protocol):
    """Stores leases and usage; every method is atomic and idempotent.

    Days (UTC) and lease times follow the store's clock.
    """

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """Acquire a lease for ``ttl_seconds``, if the user is below the stream limit and has minutes left.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """Renew leases for ``ttl_seconds``.

        An expired lease is acquired again if its user is below the stream limit.

        Returns:
            Whether each lease is held.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    async def release_lease(self, lease: StreamLease) -> None:
        """Release a lease and delete its paid total.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Charge audio within the daily limit; see ``settle_charge``.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:
        """Charge without waiting, or return None if the store is remote."""

    async def read_usage(self, user: str) -> QuotaUsage:
        """Return the current usage of a user.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    async def ping(self) -> None:
        """Check that the store can be reached.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached.
        """

    async def close(self) -> None:
        """Close connections."""


def settle_charge(charge: Charge, paid: int, used: int) -> ChargeResult:
    """Compute the result of a charge; every store follows this arithmetic.

    Args:
        charge: The charge.
        paid: The paid total of the stream, from the store.
        used: The microseconds of the user that count today.
    """
    owed = max(0, charge.consumed - paid)
    more = charge.requested - paid - owed
    if charge.daily_limit is not None and more > 0:
        more = min(more, max(0, charge.daily_limit - used - owed))
    return ChargeResult(paid + owed + more, max(0, used + owed + more))


def to_minutes(microseconds: int) -> float:
    """Convert microseconds to minutes, rounded."""
    return round(microseconds / _MICROSECONDS_PER_MINUTE, _MINUTE_DECIMALS)


def from_minutes(minutes: float) -> int:
    """Convert minutes to the nearest whole microseconds."""
    return round(minutes * _MICROSECONDS_PER_MINUTE)

"""Quotas within one process."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from echoic.quotas.model import (
    Charge,
    ChargeResult,
    LeaseResult,
    QuotaUsage,
    StreamLease,
    TierLimits,
    settle_charge,
)

_SECONDS_PER_DAY: Final = 86_400


class MemoryQuotaStore:
    """Keeps places and minutes in this process, and forgets them with it.

    Args:
        wall_clock: Seconds since 1970 (UTC), for days.
        monotonic_clock: Seconds of a clock that never jumps, for leases.
    """

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.time,
        monotonic_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_clock = wall_clock
        self._monotonic_clock = monotonic_clock
        self._expiry_by_user: dict[str, dict[str, float]] = {}
        self._used_by_day: dict[int, dict[str, int]] = {}
        self._paid_by_lease: dict[StreamLease, int] = {}

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """See ``QuotaStore.acquire``."""
        leases, used = self._prune_expired_leases(lease.user), self._find_usage_today()[lease.user]
        full = tier_limits.max_streams is not None and len(leases) >= tier_limits.max_streams
        spent = tier_limits.daily_microseconds is not None and used >= tier_limits.daily_microseconds
        admitted = lease.lease_id in leases or not (full or spent)
        if admitted:
            self._hold_lease(lease, ttl_seconds)
        return LeaseResult(len(self._prune_expired_leases(lease.user)), used, admitted)

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew``."""
        return [self._renew_lease(place, allowance, ttl_seconds) for place, allowance in leases]

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release``."""
        self._paid_by_lease.pop(lease, None)
        self._expiry_by_user.get(lease.user, {}).pop(lease.lease_id, None)
        self._prune_expired_leases(lease.user)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        return self.charge_audio_now(charge)

    def charge_audio_now(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge_now``; never None."""
        place, today = charge.lease, self._find_usage_today()
        receipt = settle_charge(charge, self._paid_by_lease.get(place, charge.paid), today[place.user])
        self._paid_by_lease[place] = receipt.paid
        today[place.user] = receipt.used
        return receipt

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.usage``."""
        return QuotaUsage(len(self._prune_expired_leases(user)), self._find_usage_today()[user])

    async def ping(self) -> None:
        """Do nothing: it is there."""

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _renew_lease(self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float) -> bool:
        leases = self._prune_expired_leases(lease.user)
        if (
            lease.lease_id not in leases
            and tier_limits.max_streams is not None
            and len(leases) >= tier_limits.max_streams
        ):
            return False
        self._hold_lease(lease, ttl_seconds)
        return True

    def _hold_lease(self, lease: StreamLease, ttl_seconds: float) -> None:
        self._expiry_by_user.setdefault(lease.user, {})[lease.lease_id] = (
            self._monotonic_clock() + ttl_seconds
        )

    def _prune_expired_leases(self, user: str) -> dict[str, float]:
        leases, now = self._expiry_by_user.get(user, {}), self._monotonic_clock()
        for lease in [lease for lease, end in leases.items() if end <= now]:
            del leases[lease]
            self._paid_by_lease.pop(StreamLease(user, lease), None)
        if not leases:
            self._expiry_by_user.pop(user, None)
        return leases

    def _find_usage_today(self) -> dict[str, int]:
        """Return what is used today by user; a clock that jumps finds the days beside today again."""
        day = int(self._wall_clock() // _SECONDS_PER_DAY)
        if day not in self._used_by_day:
            self._used_by_day = {
                other: used for other, used in self._used_by_day.items() if abs(other - day) <= 1
            }
            self._used_by_day[day] = defaultdict(int)
        return self._used_by_day[day]

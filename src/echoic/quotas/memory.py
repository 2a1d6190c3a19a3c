"""A quota store in memory, for a single process."""

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
    """Stores leases and usage in memory; they are lost when the process ends.

    Args:
        wall_clock: Returns seconds since 1970 (UTC); decides days.
        monotonic_clock: Returns the seconds of a monotonic clock; decides lease times.
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
        """See ``QuotaStore.acquire_lease``."""
        leases, used = self._prune_expired_leases(lease.user), self._find_usage_today()[lease.user]
        is_full = tier_limits.max_streams is not None and len(leases) >= tier_limits.max_streams
        is_spent = tier_limits.daily_microseconds is not None and used >= tier_limits.daily_microseconds
        is_admitted = lease.lease_id in leases or not (is_full or is_spent)
        if is_admitted:
            self._hold_lease(lease, ttl_seconds)
        return LeaseResult(len(self._prune_expired_leases(lease.user)), used, is_admitted)

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew_leases``."""
        return [self._renew_lease(lease, tier_limits, ttl_seconds) for lease, tier_limits in leases]

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release_lease``."""
        self._paid_by_lease.pop(lease, None)
        self._expiry_by_user.get(lease.user, {}).pop(lease.lease_id, None)
        self._prune_expired_leases(lease.user)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge_audio``."""
        return self.charge_audio_now(charge)

    def charge_audio_now(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge_audio_now``; never returns None."""
        lease, used_today = charge.lease, self._find_usage_today()
        paid = self._paid_by_lease.get(lease, charge.paid)
        result = settle_charge(charge, paid, used_today[lease.user])
        self._paid_by_lease[lease] = result.paid
        used_today[lease.user] = result.used
        return result

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.read_usage``."""
        return QuotaUsage(len(self._prune_expired_leases(user)), self._find_usage_today()[user])

    async def ping(self) -> None:
        """Do nothing: memory is always available."""

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
        for lease_id in [lease_id for lease_id, expiry in leases.items() if expiry <= now]:
            del leases[lease_id]
            self._paid_by_lease.pop(StreamLease(user, lease_id), None)
        if not leases:
            self._expiry_by_user.pop(user, None)
        return leases

    def _find_usage_today(self) -> dict[str, int]:
        """Return today's usage by user; the adjacent days are kept in case the wall clock jumps."""
        day = int(self._wall_clock() // _SECONDS_PER_DAY)
        if day not in self._used_by_day:
            self._used_by_day = {
                other: used for other, used in self._used_by_day.items() if abs(other - day) <= 1
            }
            self._used_by_day[day] = defaultdict(int)
        return self._used_by_day[day]

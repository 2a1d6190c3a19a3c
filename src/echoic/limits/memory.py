"""Quotas within one process."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from echoic.limits.quota import Admission, Place, Usage, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from echoic.limits.quota import Allowance, Claim, Receipt

_DAY: Final = 86_400


class MemoryQuotas:
    """Keeps places and minutes in this process, and forgets them with it.

    Args:
        wall: Seconds since 1970 (UTC), for days.
        steady: Seconds of a clock that never jumps, for leases.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._leases: dict[str, dict[str, float]] = {}
        self._days: dict[int, dict[str, int]] = {}
        self._paid: dict[Place, int] = {}

    async def acquire(self, place: Place, allowance: Allowance, ttl: float) -> Admission:
        """See ``QuotaStore.acquire``."""
        leases, used = self._running(place.user), self._today()[place.user]
        full = allowance.streams is not None and len(leases) >= allowance.streams
        spent = allowance.daily is not None and used >= allowance.daily
        admitted = place.lease in leases or not (full or spent)
        if admitted:
            self._hold(place, ttl)
        return Admission(len(self._running(place.user)), used, admitted)

    async def renew(self, places: Sequence[tuple[Place, Allowance]], ttl: float) -> list[bool]:
        """See ``QuotaStore.renew``."""
        return [self._renew(place, allowance, ttl) for place, allowance in places]

    async def release(self, place: Place) -> None:
        """See ``QuotaStore.release``."""
        self._paid.pop(place, None)
        self._leases.get(place.user, {}).pop(place.lease, None)
        self._running(place.user)

    async def charge(self, claim: Claim) -> Receipt:
        """See ``QuotaStore.charge``."""
        return self.charge_now(claim)

    def charge_now(self, claim: Claim) -> Receipt:
        """See ``QuotaStore.charge_now``; never None."""
        place, today = claim.place, self._today()
        receipt = settle(claim, self._paid.get(place, claim.paid), today[place.user])
        self._paid[place] = receipt.paid
        today[place.user] = receipt.used
        return receipt

    async def usage(self, user: str) -> Usage:
        """See ``QuotaStore.usage``."""
        return Usage(len(self._running(user)), self._today()[user])

    async def ping(self) -> None:
        """Do nothing: it is there."""

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _renew(self, place: Place, allowance: Allowance, ttl: float) -> bool:
        leases = self._running(place.user)
        if place.lease not in leases and allowance.streams is not None and len(leases) >= allowance.streams:
            return False
        self._hold(place, ttl)
        return True

    def _hold(self, place: Place, ttl: float) -> None:
        self._leases.setdefault(place.user, {})[place.lease] = self._steady() + ttl

    def _running(self, user: str) -> dict[str, float]:
        leases, now = self._leases.get(user, {}), self._steady()
        for lease in [lease for lease, end in leases.items() if end <= now]:
            del leases[lease]
            self._paid.pop(Place(user, lease), None)
        if not leases:
            self._leases.pop(user, None)
        return leases

    def _today(self) -> dict[str, int]:
        """Return what is used today by user; a clock that jumps finds the days beside today again."""
        day = int(self._wall() // _DAY)
        if day not in self._days:
            self._days = {other: used for other, used in self._days.items() if abs(other - day) <= 1}
            self._days[day] = defaultdict(int)
        return self._days[day]

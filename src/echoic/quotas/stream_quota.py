"""Whole samples to whole microseconds, without losing any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from echoic.errors import AccessRefused, ErrorCode
from echoic.quotas.model import (
    MICROSECONDS_PER_SECOND,
    Charge,
    ChargeResult,
    QuotaStore,
    QuotaStoreUnavailable,
    StreamLease,
    TierLimits,
    to_minutes,
)

#: Samples per second before anything is heard; any number will do, for nothing is left over.
_INITIAL_RATE: Final = 1


class AudioMeter:
    """Counts a stream's audio: after N samples at a rate, however cut, exactly ⌊N · 10⁶ / rate⌋ microseconds.

    What is left over of a microsecond waits for the next samples, also when the rate changes.
    """

    __slots__ = ("_rate", "_remainder", "consumed")

    def __init__(self) -> None:
        #: Microseconds so far.
        self.consumed = 0
        self._rate = _INITIAL_RATE
        self._remainder = 0  # of a microsecond, in parts of ``_rate``

    def compute_cost(self, samples: int, rate: int) -> int:
        """Return the microseconds by which ``samples`` more would bring ``consumed`` on."""
        self._change_rate(rate)
        return (self._remainder + samples * MICROSECONDS_PER_SECOND) // rate

    def count_affordable_samples(self, microseconds: int, rate: int) -> int:
        """Return the most samples that cost no more than ``microseconds``."""
        self._change_rate(rate)
        return ((microseconds + 1) * rate - 1 - self._remainder) // MICROSECONDS_PER_SECOND

    def add_samples(self, samples: int, rate: int) -> None:
        """Count samples."""
        self._change_rate(rate)
        whole, self._remainder = divmod(self._remainder + samples * MICROSECONDS_PER_SECOND, rate)
        self.consumed += whole

    def _change_rate(self, rate: int) -> None:
        if rate != self._rate:
            self._remainder = self._remainder * rate // self._rate
            self._rate = rate


#: Microseconds of audio that are paid ahead where the store has to be waited for; asked for again when half
#: of them are heard, so a client that speaks never waits. What is not heard is given back.
PREPAID_MICROSECONDS: Final = 2 * MICROSECONDS_PER_SECOND


class LedgerProtocol(Protocol):
    """What an account needs of the desk it was opened at."""

    @property
    def store(self) -> QuotaStore:
        """Where use is kept."""

    @property
    def store_unavailable(self) -> asyncio.Event:
        """Set while the store is away."""

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Charge audio in the store."""

    async def release_lease(self, lease: StreamLease) -> None:
        """Release a lease in the store."""

    def on_store_unavailable(self, reason: QuotaStoreUnavailable) -> None:
        """Note that it is."""

    def grant_failopen(self, user: str, tier_limits: TierLimits, wanted: int) -> int:
        """Return how many microseconds a stream that began without the store may hear without it."""

    def refuse_minutes(self, user: str, tier_limits: TierLimits, used: int) -> AccessRefused:
        """Return why a user may hear no more, and count it."""

    def spawn_task(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Let something run on its own."""


class StreamQuota:
    """One stream's standing.

    Args:
        ledger: The desk.
        lease: The stream's.
        tier_limits: Its user's.
        is_admitted: Whether the store admitted it: then it goes on while the store is away.
    """

    def __init__(
        self, ledger: LedgerProtocol, lease: StreamLease, tier_limits: TierLimits, *, is_admitted: bool
    ) -> None:
        self.lease = lease
        self.tier_limits = tier_limits
        self.is_admitted = is_admitted
        #: Why nothing more may be heard, once that is so.
        self.refusal: AccessRefused | None = None
        self._ledger = ledger
        self._meter = AudioMeter()
        self._paid = self._used = 0
        self._pending_cost = 0  # microseconds that are waited for
        self._is_exhausted = False  # the store was asked for them, and has not so many
        self._should_prepay = False  # the store has to be waited for
        self._is_prepaying = self._is_closed = False
        self._charge_lock = asyncio.Lock()

    def grant_audio(self, samples: int, rate: int) -> int | None:
        """Pay for samples and return how many may be heard; None: wait until ``wait_for_grant``, then ask again.

        Fewer than asked: nothing more may ever be heard, and ``refusal`` says why.
        """
        if self.refusal is not None:
            return 0
        cost = self._meter.compute_cost(samples, rate)
        room = self._cover_cost(cost)
        if room is None:
            self._pending_cost = cost
            return None
        self._pending_cost, self._is_exhausted = 0, False
        if room < cost:
            self.refusal = self._ledger.refuse_minutes(self.lease.user, self.tier_limits, self._used)
            samples = self._meter.count_affordable_samples(room, rate)
        self._meter.add_samples(samples, rate)
        self._start_prepaying()
        return samples

    async def wait_for_grant(self) -> None:
        """Wait until ``grant_audio`` knows."""
        while self.is_waiting:
            buying = self._ledger.spawn_task(self._request_charge(lambda: self.is_waiting))
            away = self._ledger.spawn_task(self._ledger.store_unavailable.wait())
            try:
                done, _ = await asyncio.wait({buying, away}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                away.cancel()
            if buying in done:
                buying.result()  # what is not the store's absence ends the stream

    async def settle_debt(self) -> bool:
        """Pay for what was heard unpaid while the store was away; return whether it could be asked."""
        return await self._request_charge(lambda: True)

    async def close(self) -> None:
        """Pay exactly what was heard, and give the place back.

        Raises:
            StoreAway: Not done; to be done again.
        """
        async with self._charge_lock:
            self._is_closed = True
            self._apply_result(await self._ledger.charge_audio(self._build_charge(0)))
            await self._ledger.release_lease(self.lease)

    @property
    def prepaid(self) -> int:
        """Microseconds that are paid and not heard."""
        return max(0, self._paid - self._meter.consumed)

    @property
    def is_waiting(self) -> bool:
        """Whether ``grant_audio`` cannot say yet."""
        waits = self._pending_cost > self.prepaid and not self._is_exhausted
        return waits and not self._is_offline and not self._is_closed

    @property
    def _is_offline(self) -> bool:
        return self._ledger.store_unavailable.is_set()

    def _cover_cost(self, cost: int) -> int | None:
        """Return how many of ``cost`` microseconds are paid or need not be, or None: nobody knows yet."""
        if cost <= self.prepaid:
            return cost
        boundless = self.tier_limits.daily_microseconds is None
        if self._is_offline:
            if self.is_admitted or boundless:
                return cost
            return self.prepaid + self._ledger.grant_failopen(
                self.lease.user, self.tier_limits, cost - self.prepaid
            )
        receipt = self._ledger.store.charge_audio_now(self._build_charge(cost))
        if receipt is not None:
            self._apply_result(receipt)
            return min(cost, self.prepaid)
        self._should_prepay = True
        if boundless:
            return cost
        return self.prepaid if self._is_exhausted else None

    def _start_prepaying(self) -> None:
        """Have more paid in time, so that a client that speaks never waits."""
        if (
            self._should_prepay
            and self.prepaid < PREPAID_MICROSECONDS // 2
            and not self._is_prepaying
            and self.refusal is None
        ):
            self._is_prepaying = True
            self._ledger.spawn_task(self._prepay_audio())

    async def _prepay_audio(self) -> None:
        await self._request_charge(lambda: self.prepaid < PREPAID_MICROSECONDS // 2 and not self._is_offline)
        self._is_prepaying = False

    async def _request_charge(self, is_needed: Callable[[], bool]) -> bool:
        async with self._charge_lock:
            if self._is_closed or not is_needed():
                return True
            least = self._pending_cost
            try:
                receipt = await self._ledger.charge_audio(self._build_charge(least + PREPAID_MICROSECONDS))
            except QuotaStoreUnavailable as away:
                self._ledger.on_store_unavailable(away)
                return False
            self._apply_result(receipt)
            self._is_exhausted = self.prepaid < least
            return True

    def _build_charge(self, extra: int) -> Charge:
        heard = self._meter.consumed
        return Charge(self.lease, self._paid, heard, heard + extra, self.tier_limits.daily_microseconds)

    def _apply_result(self, result: ChargeResult) -> None:
        self._paid, self._used = result.paid, result.used


def build_minutes_refusal(limit: int, used: int, *, is_failopen: bool = False) -> AccessRefused:
    """Return the refusal for a user whose minutes are used up.

    Args:
        limit: Microseconds of audio that were allowed.
        used: Microseconds that were heard.
        is_failopen: They were all that is allowed while nobody can say how many there are.
    """
    minutes = to_minutes(limit)
    message = f"The {minutes:g} minutes of today are used up. The next day begins at midnight UTC."
    if is_failopen:
        message = (
            f"Quotas cannot be looked up now, and the {minutes:g} minutes allowed meanwhile are used up."
        )
    return AccessRefused(
        ErrorCode.QUOTA_EXCEEDED,
        message,
        quota="daily_minutes",
        limit=minutes,
        used=to_minutes(used),
    )


def build_streams_refusal(limit: int, active: int) -> AccessRefused:
    """Return the refusal for a user who has as many streams as allowed."""
    allowed = "1 stream" if limit == 1 else f"{limit} streams"
    there = "is 1" if active == 1 else f"are {active}"
    return AccessRefused(
        ErrorCode.QUOTA_EXCEEDED,
        f"There may be {allowed} at the same time, and there {there}. Close one to open another.",
        quota="concurrent_streams",
        limit=limit,
        used=active,
    )

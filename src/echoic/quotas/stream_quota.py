"""Charges the audio of one stream: prepays in time and stops the stream at its user's limit."""

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

#: The rate before the first samples; any value works, because the remainder is still 0.
_INITIAL_RATE: Final = 1
#: Microseconds of audio that are prepaid to a remote store. More is requested when half of them are consumed,
#: so that live audio never waits; the rest is refunded at the end.
PREPAID_MICROSECONDS: Final = 2 * MICROSECONDS_PER_SECOND


class AudioMeter:
    """Converts samples to whole microseconds without rounding errors.

    After N samples at one rate, in chunks of any size, it has counted exactly ⌊N · 10⁶ / rate⌋ microseconds.
    The fraction of a microsecond is carried over, also when the rate changes.
    """

    __slots__ = ("_rate", "_remainder", "consumed")

    def __init__(self) -> None:
        #: The total, in microseconds.
        self.consumed = 0
        self._rate = _INITIAL_RATE
        self._remainder = 0  # the fraction of a microsecond, times ``_rate``

    def compute_cost(self, samples: int, rate: int) -> int:
        """Return by how many microseconds ``samples`` more would raise ``consumed``."""
        self._change_rate(rate)
        return (self._remainder + samples * MICROSECONDS_PER_SECOND) // rate

    def count_affordable_samples(self, microseconds: int, rate: int) -> int:
        """Return the largest number of samples that cost at most ``microseconds``."""
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


class LedgerProtocol(Protocol):
    """The part of the ledger that a stream's quota uses."""

    @property
    def store(self) -> QuotaStore:
        """The quota store."""

    @property
    def store_unavailable(self) -> asyncio.Event:
        """Set while the store is unavailable."""

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Charge audio in the store."""

    async def release_lease(self, lease: StreamLease) -> None:
        """Release a lease in the store."""

    def on_store_unavailable(self, reason: QuotaStoreUnavailable) -> None:
        """Record that the store is unavailable."""

    def grant_failopen(self, user: str, tier_limits: TierLimits, wanted: int) -> int:
        """Grant microseconds to a stream that started during an outage; return how many."""

    def refuse_minutes(self, user: str, tier_limits: TierLimits, used: int) -> AccessRefused:
        """Return the refusal of a user without minutes, and count it."""

    def spawn_task(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Run a coroutine as a task."""


class StreamQuota:
    """The quota of one stream.

    Args:
        ledger: The ledger that opened it.
        lease: The stream's lease.
        tier_limits: The limits of the stream's user.
        is_admitted: Whether the store admitted the stream. Such a stream continues during an outage of the
            store.
    """

    def __init__(
        self, ledger: LedgerProtocol, lease: StreamLease, tier_limits: TierLimits, *, is_admitted: bool
    ) -> None:
        self.lease = lease
        self.tier_limits = tier_limits
        self.is_admitted = is_admitted
        #: Set once the user has no minutes left; then no more audio is granted.
        self.refusal: AccessRefused | None = None
        self._ledger = ledger
        self._meter = AudioMeter()
        self._paid = self._used = 0
        self._pending_cost = 0  # microseconds that ``grant_audio`` has not granted yet
        self._is_exhausted = False  # True once the store granted less than ``_pending_cost``
        self._is_store_remote = False  # True once the store could not charge at once
        self._is_prepaying = self._is_closed = False
        self._charge_lock = asyncio.Lock()

    def grant_audio(self, samples: int, rate: int) -> int | None:
        """Pay for samples and return how many may be decoded.

        Returns:
            The granted samples; fewer than requested only at the limit, and then ``refusal`` is set.
            None: await ``wait_for_grant`` and call again.
        """
        if self.refusal is not None:
            return 0
        cost = self._meter.compute_cost(samples, rate)
        covered = self._cover_cost(cost)
        if covered is None:
            self._pending_cost = cost
            return None
        self._pending_cost, self._is_exhausted = 0, False
        if covered < cost:
            self.refusal = self._ledger.refuse_minutes(self.lease.user, self.tier_limits, self._used)
            samples = self._meter.count_affordable_samples(covered, rate)
        self._meter.add_samples(samples, rate)
        self._start_prepaying()
        return samples

    async def wait_for_grant(self) -> None:
        """Wait until ``grant_audio`` returns a number for the last samples."""
        while self.is_waiting:
            charge = self._ledger.spawn_task(self._request_charge(lambda: self.is_waiting))
            outage = self._ledger.spawn_task(self._ledger.store_unavailable.wait())
            try:
                done, _ = await asyncio.wait({charge, outage}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                outage.cancel()
            if charge in done:
                charge.result()  # an unexpected exception ends the stream

    async def settle_debt(self) -> bool:
        """Charge the audio of an outage; return whether the store could be reached."""
        return await self._request_charge(lambda: True)

    async def close(self) -> None:
        """Charge exactly the consumed audio and release the lease.

        Raises:
            QuotaStoreUnavailable: The store cannot be reached; call again later.
        """
        async with self._charge_lock:
            self._is_closed = True
            self._apply_result(await self._ledger.charge_audio(self._build_charge(0)))
            await self._ledger.release_lease(self.lease)

    @property
    def prepaid(self) -> int:
        """Microseconds that are paid but not consumed."""
        return max(0, self._paid - self._meter.consumed)

    @property
    def is_waiting(self) -> bool:
        """Whether ``grant_audio`` would return None again."""
        is_pending = self._pending_cost > self.prepaid and not self._is_exhausted
        return is_pending and not self._is_offline and not self._is_closed

    @property
    def _is_offline(self) -> bool:
        return self._ledger.store_unavailable.is_set()

    def _cover_cost(self, cost: int) -> int | None:
        """Return how many of ``cost`` microseconds are granted, or None if the store must be asked first."""
        if cost <= self.prepaid:
            return cost
        is_unlimited = self.tier_limits.daily_microseconds is None
        if self._is_offline:
            if self.is_admitted or is_unlimited:
                return cost
            return self.prepaid + self._ledger.grant_failopen(
                self.lease.user, self.tier_limits, cost - self.prepaid
            )
        result = self._ledger.store.charge_audio_now(self._build_charge(cost))
        if result is not None:
            self._apply_result(result)
            return min(cost, self.prepaid)
        self._is_store_remote = True
        if is_unlimited:
            return cost
        return self.prepaid if self._is_exhausted else None

    def _start_prepaying(self) -> None:
        """Request more prepaid audio in time, so that live audio never waits."""
        if (
            self._is_store_remote
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
            pending = self._pending_cost
            try:
                result = await self._ledger.charge_audio(self._build_charge(pending + PREPAID_MICROSECONDS))
            except QuotaStoreUnavailable as error:
                self._ledger.on_store_unavailable(error)
                return False
            self._apply_result(result)
            self._is_exhausted = self.prepaid < pending
            return True

    def _build_charge(self, extra: int) -> Charge:
        consumed = self._meter.consumed
        return Charge(self.lease, self._paid, consumed, consumed + extra, self.tier_limits.daily_microseconds)

    def _apply_result(self, result: ChargeResult) -> None:
        self._paid, self._used = result.paid, result.used


def build_minutes_refusal(limit: int, used: int, *, is_failopen: bool = False) -> AccessRefused:
    """Build the refusal for a user without minutes.

    Args:
        limit: The limit, in microseconds of audio.
        used: The used microseconds.
        is_failopen: Whether the limit is the one during an outage of the store.
    """
    minutes = to_minutes(limit)
    message = f"The daily limit of {minutes:g} minutes is used up. It is reset at midnight UTC."
    if is_failopen:
        message = f"The quota store is unavailable. The {minutes:g} minutes until its return are used up."
    return AccessRefused(
        ErrorCode.QUOTA_EXCEEDED,
        message,
        quota="daily_minutes",
        limit=minutes,
        used=to_minutes(used),
    )


def build_streams_refusal(limit: int, active: int) -> AccessRefused:
    """Build the refusal for a user at the stream limit.

    Args:
        limit: The maximum number of concurrent streams.
        active: The number of active streams.
    """
    return AccessRefused(
        ErrorCode.QUOTA_EXCEEDED,
        f"Stream limit reached ({active} of {limit}). Close a stream to open another.",
        quota="concurrent_streams",
        limit=limit,
        used=active,
    )

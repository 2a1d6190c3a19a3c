"""Admits streams, renews their leases and charges audio; bridges outages of the quota store."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from echoic.errors import AccessRefused
from echoic.quotas.model import (
    Charge,
    ChargeResult,
    LeaseResult,
    QuotaStore,
    QuotaStoreUnavailable,
    StreamLease,
    TierLimits,
    from_minutes,
)
from echoic.quotas.stream_quota import StreamQuota, build_minutes_refusal, build_streams_refusal
from echoic.quotas.tiers import Tiers

log = logging.getLogger(__name__)

#: How often a lease is renewed within its lifetime.
_RENEWALS_PER_TTL: Final = 3
#: Seconds that ``close`` waits for open charges.
_CLOSE_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """The limits of all tiers, and the parameters of leases and outages."""

    tiers: Tiers = field(default_factory=Tiers)
    #: The lifetime of a lease, in seconds.
    lease_ttl: float = 120.0
    #: Microseconds of audio for all new streams of a user during an outage of the store.
    failopen_microseconds: int = from_minutes(5)
    #: Seconds between two checks whether the store is available.
    retry_interval: float = 1.0
    #: Called with ``daily_minutes`` or ``concurrent_streams`` for each refusal.
    count_refusal: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """The limits and the usage of a user."""

    tier_limits: TierLimits
    #: The user's streams; during an outage of the store only those of this process.
    active_streams: int
    #: Microseconds of audio used today, or None during an outage of the store.
    used_microseconds: int | None
    #: Whether another stream would be admitted.
    can_open_stream: bool


class QuotaObserver:
    """Follows the round trips to a store of quotas, e.g. for traces; this base class ignores them."""

    def observe_call(self, name: str, **numbers: int) -> AbstractContextManager[None]:  # noqa: ARG002  # for subclasses
        """Return a context for one call of the store.

        Args:
            name: ``acquire``, ``renew``, ``release``, ``charge`` or ``usage``.
            **numbers: Facts about the call.
        """
        return nullcontext()


class QuotaLedger:
    """Admits streams, renews their leases, and bridges outages of the store.

    During an outage, admitted streams continue, and new ones may use ``failopen_microseconds`` per user.
    Afterwards the outage's audio is charged, exactly once: charges state totals.

    Args:
        store: The quota store.
        policy: Limits and parameters.
        observer: Follows the calls of the store, or None.
    """

    def __init__(
        self, store: QuotaStore, policy: QuotaPolicy | None = None, observer: QuotaObserver | None = None
    ) -> None:
        self.store = store
        self._observer = observer or QuotaObserver()
        #: Set while the store is unavailable.
        self.store_unavailable = asyncio.Event()
        self._policy = policy or QuotaPolicy()
        self._open_quotas: set[StreamQuota] = set()
        self._closing: dict[StreamQuota, asyncio.Task[None]] = {}
        self._unsettled: list[StreamQuota] = []
        self._failopen_used: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def is_store_unavailable(self) -> bool:
        """Whether the store is unavailable."""
        return self.store_unavailable.is_set()

    # ---- streams

    async def open_stream(self, user: str, tier: str) -> StreamQuota:
        """Admit a stream and return its quota.

        Args:
            user: The user that is charged.
            tier: The user's tier.

        Raises:
            AccessRefused: ``quota_exceeded``: the user's stream limit is reached, or no minutes are left.
        """
        tier_limits = self._policy.tiers.resolve_limits(tier)
        lease = StreamLease(user, token_hex(8))
        admission = await self._acquire_lease(lease, tier_limits)
        refusal = self._find_refusal(user, tier_limits, admission)
        if refusal is not None:
            raise self._count_refusal(refusal)
        quota = StreamQuota(self, lease, tier_limits, is_admitted=admission is not None)
        self._open_quotas.add(quota)
        return quota

    def close_stream(self, quota: StreamQuota) -> asyncio.Task[None]:
        """Charge a stream's remaining audio and release its lease in a task, which need not be awaited."""
        self._open_quotas.discard(quota)
        self._closing[quota] = task = asyncio.get_running_loop().create_task(self._close_quota(quota))
        task.add_done_callback(lambda _: self._closing.pop(quota, None))
        return task

    async def inspect_status(self, user: str, tier: str) -> QuotaStatus:
        """Return the limits and the usage of a user.

        Args:
            user: The user's name.
            tier: The user's tier.
        """
        tier_limits = self._policy.tiers.resolve_limits(tier)
        quotas = self._find_user_quotas(user)
        if not self.is_store_unavailable:
            try:
                with self._observer.observe_call("usage"):
                    usage = await self.store.read_usage(user)
            except QuotaStoreUnavailable as error:
                self.on_store_unavailable(error)
            else:
                used = max(0, usage.used_microseconds - sum(quota.prepaid for quota in quotas))
                can_open = _has_quota_left(tier_limits, usage.active_streams, used)
                return QuotaStatus(tier_limits, usage.active_streams, used, can_open)
        can_open = self._find_refusal(user, tier_limits, None) is None
        return QuotaStatus(tier_limits, len(quotas), None, can_open)

    # ---- renewal

    async def run_renewals(self) -> None:
        """Renew all leases periodically and check the store in between, until cancelled."""
        clock, interval = asyncio.get_running_loop().time, self._policy.lease_ttl / _RENEWALS_PER_TTL
        next_renewal = clock()
        while True:
            if self.is_store_unavailable or clock() >= next_renewal:
                next_renewal = clock() + interval
                await self.renew_leases()
            else:
                await self._check_store()
            await asyncio.sleep(min(self._policy.retry_interval, interval))

    async def renew_leases(self) -> None:
        """Renew the leases of all streams; after an outage of the store, charge its audio first."""
        leases = [(quota.lease, quota.tier_limits) for quota in self._open_quotas]
        try:
            with self._observer.observe_call("renew", leases=len(leases)):
                held = await self.store.renew_leases(leases, self._policy.lease_ttl)
        except QuotaStoreUnavailable as error:
            self.on_store_unavailable(error)
            return
        if self.is_store_unavailable:
            await self._settle_outage()
        # Streams whose leases were lost continue. The store counts them again as soon as their user is below
        # the stream limit.
        if not all(held):
            _log_warning("quota.leases_lost", streams=held.count(False))

    async def close(self) -> None:
        """Close all streams' quotas and the store; waits a bounded time for open charges."""
        for quota in tuple(self._open_quotas):
            self.close_stream(quota)
        tasks = {*self._closing.values(), *self._tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_SECONDS)
        with suppress(QuotaStoreUnavailable):
            await self.store.close()

    # ---- for stream quotas (``LedgerProtocol``)

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Charge audio in the store; see ``QuotaStore.charge_audio``."""
        with self._observer.observe_call("charge"):
            return await self.store.charge_audio(charge)

    async def release_lease(self, lease: StreamLease) -> None:
        """Release a lease in the store; see ``QuotaStore.release_lease``."""
        with self._observer.observe_call("release"):
            await self.store.release_lease(lease)

    def on_store_unavailable(self, reason: QuotaStoreUnavailable) -> None:
        """Record that the store is unavailable."""
        if not self.is_store_unavailable:
            self.store_unavailable.set()
            _log_warning("quota.store_away", kind=str(reason))

    def grant_failopen(self, user: str, tier_limits: TierLimits, wanted: int) -> int:
        """Grant microseconds of audio to a new stream during an outage of the store; return how many."""
        remaining = max(0, self._compute_failopen_limit(tier_limits) - self._failopen_used[user])
        granted = min(wanted, remaining)
        self._failopen_used[user] += granted
        return granted

    def refuse_minutes(self, user: str, tier_limits: TierLimits, used: int) -> AccessRefused:
        """Return the refusal of a user without minutes, and count it."""
        if self.is_store_unavailable:
            return self._count_refusal(
                build_minutes_refusal(
                    self._compute_failopen_limit(tier_limits), self._failopen_used[user], is_failopen=True
                )
            )
        return self._count_refusal(build_minutes_refusal(tier_limits.daily_microseconds or 0, used))

    def spawn_task(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Run a coroutine as a task that ``close`` waits for."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- internals

    async def _acquire_lease(self, lease: StreamLease, tier_limits: TierLimits) -> LeaseResult | None:
        """Return the store's answer, or None if it is unavailable."""
        if self.is_store_unavailable:
            return None
        try:
            answer = await self._request_lease(lease, tier_limits)
            closing = [task for quota, task in self._closing.items() if quota.lease.user == lease.user]
            if not answer.is_admitted and closing:  # streams that are closing release leases and minutes
                await asyncio.wait(closing)
                answer = await self._request_lease(lease, tier_limits)
        except QuotaStoreUnavailable as error:
            self.on_store_unavailable(error)
            return None
        return answer

    async def _request_lease(self, lease: StreamLease, tier_limits: TierLimits) -> LeaseResult:
        with self._observer.observe_call("acquire"):
            return await self.store.acquire_lease(lease, tier_limits, self._policy.lease_ttl)

    def _find_refusal(
        self, user: str, tier_limits: TierLimits, admission: LeaseResult | None
    ) -> AccessRefused | None:
        if admission is None:
            return self._find_offline_refusal(user, tier_limits)
        if admission.is_admitted:
            return None
        if tier_limits.max_streams is not None and admission.active_streams >= tier_limits.max_streams:
            return build_streams_refusal(tier_limits.max_streams, admission.active_streams)
        return build_minutes_refusal(tier_limits.daily_microseconds or 0, admission.used_microseconds)

    def _find_offline_refusal(self, user: str, tier_limits: TierLimits) -> AccessRefused | None:
        active = len(self._find_user_quotas(user))
        if tier_limits.max_streams is not None and active >= tier_limits.max_streams:
            return build_streams_refusal(tier_limits.max_streams, active)
        limit, used = self._compute_failopen_limit(tier_limits), self._failopen_used[user]
        if tier_limits.daily_microseconds is not None and used >= limit:
            return build_minutes_refusal(limit, used, is_failopen=True)
        return None

    async def _check_store(self) -> None:
        try:
            await self.store.ping()
        except QuotaStoreUnavailable as error:
            self.on_store_unavailable(error)

    async def _close_quota(self, quota: StreamQuota) -> None:
        if not self.is_store_unavailable:
            try:
                await quota.close()
            except QuotaStoreUnavailable as error:
                self.on_store_unavailable(error)
            else:
                return
        self._unsettled.append(quota)

    async def _settle_outage(self) -> None:
        """Charge the audio of an outage: first of the running streams, then of those that ended meanwhile."""
        if not all(await asyncio.gather(*(quota.settle_debt() for quota in self._open_quotas))):
            return
        self.store_unavailable.clear()
        self._failopen_used.clear()
        for quota in self._open_quotas:
            quota.is_admitted = True
        ended, self._unsettled = self._unsettled, []
        _log_warning("quota.store_back", streams=len(self._open_quotas), ended=len(ended))
        if ended:
            await asyncio.wait([self.close_stream(quota) for quota in ended])

    def _compute_failopen_limit(self, tier_limits: TierLimits) -> int:
        return (
            self._policy.failopen_microseconds
            if tier_limits.daily_microseconds is None
            else min(self._policy.failopen_microseconds, tier_limits.daily_microseconds)
        )

    def _find_user_quotas(self, user: str) -> list[StreamQuota]:
        return [quota for quota in self._open_quotas if quota.lease.user == user]

    def _count_refusal(self, refusal: AccessRefused) -> AccessRefused:
        self._policy.count_refusal(str(refusal.detail["quota"]))
        return refusal


def _has_quota_left(tier_limits: TierLimits, active: int, used: int) -> bool:
    has_streams = tier_limits.max_streams is None or active < tier_limits.max_streams
    return has_streams and (tier_limits.daily_microseconds is None or used < tier_limits.daily_microseconds)


def _log_warning(event: str, **values: str | int) -> None:
    log.warning(event, extra={"event_values": values})

"""Where streams are admitted and their accounts kept: one in a process, before the store of quotas."""

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

#: Leases are renewed so many times within their time.
_RENEWALS_PER_TTL: Final = 3
#: Seconds that a stop waits for accounts to be settled.
_CLOSE_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """How streams are counted.

    Attributes:
        tiers: Everyone's limits.
        lease_ttl: Seconds of a lease.
        failopen_microseconds: Microseconds that a user's new streams may hear in all while the store is away.
        retry_interval: Seconds between two looks whether it is there.
        count_refusal: Called with ``daily_minutes`` or ``concurrent_streams`` for each refusal.
    """

    tiers: Tiers = field(default_factory=Tiers)
    lease_ttl: float = 120.0
    failopen_microseconds: int = from_minutes(5)
    retry_interval: float = 1.0
    count_refusal: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """What a user may and uses; None: nobody can say, the store is away.

    Attributes:
        tier_limits: The limits.
        active_streams: Streams; those of this process if the store is away.
        used_microseconds: Microseconds of audio heard today.
        can_open_stream: Whether one more stream would be let in.
    """

    tier_limits: TierLimits
    active_streams: int
    used_microseconds: int | None
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
    """Admits streams, keeps their leases, and bridges the time when the store is away.

    While it is away, streams that it admitted go on, and new ones hear what ``Terms.lent`` allows. What is
    heard then is settled once it is back, exactly once: accounts tell totals.

    Args:
        store: Where use is kept.
        policy: How streams are counted.
        observer: Follows the calls of the store; None: nothing does.
    """

    def __init__(
        self, store: QuotaStore, policy: QuotaPolicy | None = None, observer: QuotaObserver | None = None
    ) -> None:
        self.store = store
        self._observer = observer or QuotaObserver()
        #: Set while the store is away.
        self.store_unavailable = asyncio.Event()
        self._policy = policy or QuotaPolicy()
        self._open_quotas: set[StreamQuota] = set()
        self._closing: dict[StreamQuota, asyncio.Task[None]] = {}
        self._unsettled: list[StreamQuota] = []
        self._failopen_used: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def is_store_unavailable(self) -> bool:
        """Whether the store is away."""
        return self.store_unavailable.is_set()

    # ---- streams

    async def open_stream(self, user: str, tier: str) -> StreamQuota:
        """Return the account of a new stream.

        Raises:
            AccessRefused: ``quota_exceeded``: its user has as many streams as allowed, or no minutes left.
        """
        allowance = self._policy.tiers.resolve_limits(tier)
        place = StreamLease(user, token_hex(8))
        admission = await self._acquire_lease(place, allowance)
        refusal = self._find_refusal(user, allowance, admission)
        if refusal is not None:
            raise self._count_refusal(refusal)
        account = StreamQuota(self, place, allowance, is_admitted=admission is not None)
        self._open_quotas.add(account)
        return account

    def close_stream(self, quota: StreamQuota) -> asyncio.Task[None]:
        """Settle an account and give its place back, whether anybody waits for it or not."""
        self._open_quotas.discard(quota)
        self._closing[quota] = task = asyncio.get_running_loop().create_task(self._close_quota(quota))
        task.add_done_callback(lambda _: self._closing.pop(quota, None))
        return task

    async def inspect_status(self, user: str, tier: str) -> QuotaStatus:
        """Return what a user may and uses."""
        allowance = self._policy.tiers.resolve_limits(tier)
        here = self._find_user_quotas(user)
        if not self.is_store_unavailable:
            try:
                with self._observer.observe_call("usage"):
                    usage = await self.store.read_usage(user)
            except QuotaStoreUnavailable as away:
                self.on_store_unavailable(away)
            else:
                used = max(0, usage.used_microseconds - sum(account.prepaid for account in here))
                room = _has_quota_left(allowance, usage.active_streams, used)
                return QuotaStatus(allowance, usage.active_streams, used, room)
        free = self._find_refusal(user, allowance, None) is None
        return QuotaStatus(allowance, len(here), None, free)

    # ---- time

    async def run_renewals(self) -> None:
        """Renew the leases of all streams, until cancelled; between that look whether the store is there."""
        clock, interval = asyncio.get_running_loop().time, self._policy.lease_ttl / _RENEWALS_PER_TTL
        due = clock()
        while True:
            if self.is_store_unavailable or clock() >= due:
                due = clock() + interval
                await self.renew_leases()
            else:
                await self._check_store()
            await asyncio.sleep(min(self._policy.retry_interval, interval))

    async def renew_leases(self) -> None:
        """Renew the leases of all streams; settle what was heard while the store was away, if it is back."""
        accounts = list(self._open_quotas)
        places = [(account.lease, account.tier_limits) for account in accounts]
        try:
            with self._observer.observe_call("renew", places=len(places)):
                held = await self.store.renew_leases(places, self._policy.lease_ttl)
        except QuotaStoreUnavailable as away:
            self.on_store_unavailable(away)
            return
        if self.is_store_unavailable:
            await self._settle_outage()
        if not all(held):  # they go on: the store counts them as soon as their user has a place free
            _log_warning("quota.places_wanting", streams=held.count(False))

    async def close(self) -> None:
        """Settle everything that can be settled, and let go of the store."""
        for account in tuple(self._open_quotas):
            self.close_stream(account)
        tasks = {*self._closing.values(), *self._tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_SECONDS)
        with suppress(QuotaStoreUnavailable):
            await self.store.close()

    # ---- what accounts need

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """Charge audio in the store; see ``QuotaStore.charge_audio``."""
        with self._observer.observe_call("charge"):
            return await self.store.charge_audio(charge)

    async def release_lease(self, lease: StreamLease) -> None:
        """Release a lease in the store; see ``QuotaStore.release_lease``."""
        with self._observer.observe_call("release"):
            await self.store.release_lease(lease)

    def on_store_unavailable(self, reason: QuotaStoreUnavailable) -> None:
        """Note that the store is away."""
        if not self.is_store_unavailable:
            self.store_unavailable.set()
            _log_warning("quota.store_away", kind=str(reason))

    def grant_failopen(self, user: str, tier_limits: TierLimits, wanted: int) -> int:
        """Return how many of ``wanted`` microseconds a new stream may hear while the store is away."""
        lent = min(wanted, max(0, self._compute_failopen_limit(tier_limits) - self._failopen_used[user]))
        self._failopen_used[user] += lent
        return lent

    def refuse_minutes(self, user: str, tier_limits: TierLimits, used: int) -> AccessRefused:
        """Return why a user may hear no more, and count it."""
        if self.is_store_unavailable:
            return self._count_refusal(
                build_minutes_refusal(
                    self._compute_failopen_limit(tier_limits), self._failopen_used[user], is_failopen=True
                )
            )
        return self._count_refusal(build_minutes_refusal(tier_limits.daily_microseconds or 0, used))

    def spawn_task(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Let something run on its own."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- inside

    async def _acquire_lease(self, lease: StreamLease, tier_limits: TierLimits) -> LeaseResult | None:
        """Return the store's answer, or None: it is away."""
        if self.is_store_unavailable:
            return None
        try:
            answer = await self._request_lease(lease, tier_limits)
            leaving = [task for account, task in self._closing.items() if account.lease.user == lease.user]
            if (
                not answer.is_admitted and leaving
            ):  # what was just closed may free a place, or give minutes back
                await asyncio.wait(leaving)
                answer = await self._request_lease(lease, tier_limits)
        except QuotaStoreUnavailable as away:
            self.on_store_unavailable(away)
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
        if tier_limits.daily_microseconds is not None and self._failopen_used[
            user
        ] >= self._compute_failopen_limit(tier_limits):
            return build_minutes_refusal(
                self._compute_failopen_limit(tier_limits), self._failopen_used[user], is_failopen=True
            )
        return None

    async def _check_store(self) -> None:
        try:
            await self.store.ping()
        except QuotaStoreUnavailable as away:
            self.on_store_unavailable(away)

    async def _close_quota(self, quota: StreamQuota) -> None:
        if not self.is_store_unavailable:
            try:
                await quota.close()
            except QuotaStoreUnavailable as away:
                self.on_store_unavailable(away)
            else:
                return
        self._unsettled.append(quota)

    async def _settle_outage(self) -> None:
        """Settle the streams that run while they still go on without the store, then those that ended."""
        if not all(await asyncio.gather(*(account.settle_debt() for account in self._open_quotas))):
            return
        self.store_unavailable.clear()
        self._failopen_used.clear()
        for account in self._open_quotas:
            account.is_admitted = True
        owing, self._unsettled = self._unsettled, []
        _log_warning("quota.store_back", streams=len(self._open_quotas), ended=len(owing))
        if owing:
            await asyncio.wait([self.close_stream(account) for account in owing])

    def _compute_failopen_limit(self, tier_limits: TierLimits) -> int:
        return (
            self._policy.failopen_microseconds
            if tier_limits.daily_microseconds is None
            else min(self._policy.failopen_microseconds, tier_limits.daily_microseconds)
        )

    def _find_user_quotas(self, user: str) -> list[StreamQuota]:
        return [account for account in self._open_quotas if account.lease.user == user]

    def _count_refusal(self, refusal: AccessRefused) -> AccessRefused:
        self._policy.count_refusal(str(refusal.detail["quota"]))
        return refusal


def _has_quota_left(tier_limits: TierLimits, active: int, used: int) -> bool:
    streams = tier_limits.max_streams is None or active < tier_limits.max_streams
    return streams and (tier_limits.daily_microseconds is None or used < tier_limits.daily_microseconds)


def _log_warning(event: str, **values: str | int) -> None:
    log.warning(event, extra={"event_values": values})

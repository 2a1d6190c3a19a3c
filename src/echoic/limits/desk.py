"""Where streams are admitted and their accounts kept: one in a process, before the store of quotas."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from echoic.limits.account import Account, minutes_refused, streams_refused
from echoic.limits.quota import Place, StoreAway, from_minutes
from echoic.limits.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from echoic.errors import AccessRefused
    from echoic.limits.identity import Identity
    from echoic.limits.quota import Admission, Allowance, QuotaStore

log = logging.getLogger(__name__)

#: Leases are renewed so many times within their time.
_RENEWALS: Final = 3
#: Seconds that a stop waits for accounts to be settled.
_LAST_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How streams are counted.

    Attributes:
        tiers: Everyone's limits.
        ttl: Seconds of a lease.
        lent: Microseconds that a user's new streams may hear in all while the store is away.
        retry: Seconds between two looks whether it is there.
        count: Called with ``daily_minutes`` or ``concurrent_streams`` for each refusal.
    """

    tiers: Tiers = field(default_factory=Tiers)
    ttl: float = 120.0
    lent: int = from_minutes(5)
    retry: float = 1.0
    count: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user may and uses; None: nobody can say, the store is away.

    Attributes:
        allowance: The limits.
        active: Streams; those of this process if the store is away.
        used: Microseconds of audio heard today.
        admitted: Whether one more stream would be let in.
    """

    allowance: Allowance
    active: int
    used: int | None
    admitted: bool


class Desk:
    """Admits streams, keeps their leases, and bridges the time when the store is away.

    While it is away, streams that it admitted go on, and new ones hear what ``Terms.lent`` allows. What is
    heard then is settled once it is back, exactly once: accounts tell totals.

    Args:
        store: Where use is kept.
        terms: How streams are counted.
    """

    def __init__(self, store: QuotaStore, terms: Terms | None = None) -> None:
        self.store = store
        #: Set while the store is away.
        self.away = asyncio.Event()
        self._terms = terms or Terms()
        self._accounts: set[Account] = set()
        self._leaving: dict[Account, asyncio.Task[None]] = {}
        self._owing: list[Account] = []
        self._lent: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def is_away(self) -> bool:
        """Whether the store is away."""
        return self.away.is_set()

    # ---- streams

    async def open(self, identity: Identity) -> Account:
        """Return the account of a new stream.

        Raises:
            AccessRefused: ``quota_exceeded``: its user has as many streams as allowed, or no minutes left.
        """
        allowance = self._terms.tiers.of(identity.tier)
        place = Place(identity.user, token_hex(8))
        admission = await self._ask(place, allowance)
        refusal = self._refusal(identity.user, allowance, admission)
        if refusal is not None:
            raise self._counted(refusal)
        account = Account(self, place, allowance, trusted=admission is not None)
        self._accounts.add(account)
        return account

    def leave(self, account: Account) -> asyncio.Task[None]:
        """Settle an account and give its place back, whether anybody waits for it or not."""
        self._accounts.discard(account)
        self._leaving[account] = task = asyncio.get_running_loop().create_task(self._close(account))
        task.add_done_callback(lambda _: self._leaving.pop(account, None))
        return task

    async def standing(self, identity: Identity) -> Standing:
        """Return what a user may and uses."""
        user, allowance = identity.user, self._terms.tiers.of(identity.tier)
        here = self._of(user)
        if not self.is_away:
            try:
                usage = await self.store.usage(user)
            except StoreAway as away:
                self.lost(away)
            else:
                used = max(0, usage.used - sum(account.ahead for account in here))
                room = _has_room(allowance, usage.active, used)
                return Standing(allowance, usage.active, used, room)
        free = self._refusal(user, allowance, None) is None
        return Standing(allowance, len(here), None, free)

    # ---- time

    async def run(self) -> None:
        """Renew the leases of all streams, until cancelled; between that look whether the store is there."""
        clock, interval = asyncio.get_running_loop().time, self._terms.ttl / _RENEWALS
        due = clock()
        while True:
            if self.is_away or clock() >= due:
                due = clock() + interval
                await self.renew()
            else:
                await self._look()
            await asyncio.sleep(min(self._terms.retry, interval))

    async def renew(self) -> None:
        """Renew the leases of all streams; settle what was heard while the store was away, if it is back."""
        accounts = list(self._accounts)
        places = [(account.place, account.allowance) for account in accounts]
        try:
            held = await self.store.renew(places, self._terms.ttl)
        except StoreAway as away:
            self.lost(away)
            return
        if self.is_away:
            await self._settle()
        if not all(held):  # they go on: the store counts them as soon as their user has a place free
            _tell("quota.places_wanting", streams=held.count(False))

    async def close(self) -> None:
        """Settle everything that can be settled, and let go of the store."""
        for account in tuple(self._accounts):
            self.leave(account)
        tasks = {*self._leaving.values(), *self._tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_SECONDS)
        with suppress(StoreAway):
            await self.store.close()

    # ---- what accounts need

    def lost(self, reason: StoreAway) -> None:
        """Note that the store is away."""
        if not self.is_away:
            self.away.set()
            _tell("quota.store_away", kind=str(reason))

    def lend(self, user: str, allowance: Allowance, wanted: int) -> int:
        """Return how many of ``wanted`` microseconds a new stream may hear while the store is away."""
        lent = min(wanted, max(0, self._cap(allowance) - self._lent[user]))
        self._lent[user] += lent
        return lent

    def refuse(self, user: str, allowance: Allowance, used: int) -> AccessRefused:
        """Return why a user may hear no more, and count it."""
        if self.is_away:
            return self._counted(minutes_refused(self._cap(allowance), self._lent[user], lent=True))
        return self._counted(minutes_refused(allowance.daily or 0, used))

    def spawn(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Let something run on its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- inside

    async def _ask(self, place: Place, allowance: Allowance) -> Admission | None:
        """Return the store's answer, or None: it is away."""
        if self.is_away:
            return None
        try:
            answer = await self.store.acquire(place, allowance, self._terms.ttl)
            leaving = [task for account, task in self._leaving.items() if account.place.user == place.user]
            if not answer.admitted and leaving:  # what was just closed may free a place, or give minutes back
                await asyncio.wait(leaving)
                answer = await self.store.acquire(place, allowance, self._terms.ttl)
        except StoreAway as away:
            self.lost(away)
            return None
        return answer

    def _refusal(self, user: str, allowance: Allowance, admission: Admission | None) -> AccessRefused | None:
        if admission is None:
            return self._refusal_away(user, allowance)
        if admission.admitted:
            return None
        if allowance.streams is not None and admission.active >= allowance.streams:
            return streams_refused(allowance.streams, admission.active)
        return minutes_refused(allowance.daily or 0, admission.used)

    def _refusal_away(self, user: str, allowance: Allowance) -> AccessRefused | None:
        active = len(self._of(user))
        if allowance.streams is not None and active >= allowance.streams:
            return streams_refused(allowance.streams, active)
        if allowance.daily is not None and self._lent[user] >= self._cap(allowance):
            return minutes_refused(self._cap(allowance), self._lent[user], lent=True)
        return None

    async def _look(self) -> None:
        try:
            await self.store.ping()
        except StoreAway as away:
            self.lost(away)

    async def _close(self, account: Account) -> None:
        if not self.is_away:
            try:
                await account.close()
            except StoreAway as away:
                self.lost(away)
            else:
                return
        self._owing.append(account)

    async def _settle(self) -> None:
        """Settle the streams that run while they still go on without the store, then those that ended."""
        if not all(await asyncio.gather(*(account.settle() for account in self._accounts))):
            return
        self.away.clear()
        self._lent.clear()
        for account in self._accounts:
            account.trusted = True
        owing, self._owing = self._owing, []
        _tell("quota.store_back", streams=len(self._accounts), ended=len(owing))
        if owing:
            await asyncio.wait([self.leave(account) for account in owing])

    def _cap(self, allowance: Allowance) -> int:
        return self._terms.lent if allowance.daily is None else min(self._terms.lent, allowance.daily)

    def _of(self, user: str) -> list[Account]:
        return [account for account in self._accounts if account.place.user == user]

    def _counted(self, refusal: AccessRefused) -> AccessRefused:
        self._terms.count(str(refusal.detail["quota"]))
        return refusal


def _has_room(allowance: Allowance, active: int, used: int) -> bool:
    streams = allowance.streams is None or active < allowance.streams
    return streams and (allowance.daily is None or used < allowance.daily)


def _tell(event: str, **values: str | int) -> None:
    log.warning(event, extra={"event_values": values})

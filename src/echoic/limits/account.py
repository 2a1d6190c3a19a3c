"""What one stream may hear: audio is paid before it is heard, and asked for ahead where paying takes time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from echoic.errors import AccessRefused, ErrorCode
from echoic.limits.meter import Meter
from echoic.limits.quota import MICROSECONDS, Claim, StoreAway, to_minutes

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from echoic.limits.quota import Allowance, Place, QuotaStore, Receipt

#: Microseconds of audio that are paid ahead where the store has to be waited for; asked for again when half
#: of them are heard, so a client that speaks never waits. What is not heard is given back.
AHEAD: Final = 2 * MICROSECONDS


class Credit(Protocol):
    """What an account needs of the desk it was opened at."""

    @property
    def store(self) -> QuotaStore:
        """Where use is kept."""

    @property
    def away(self) -> asyncio.Event:
        """Set while the store is away."""

    def lost(self, reason: StoreAway) -> None:
        """Note that it is."""

    def lend(self, user: str, allowance: Allowance, wanted: int) -> int:
        """Return how many microseconds a stream that began without the store may hear without it."""

    def refuse(self, user: str, allowance: Allowance, used: int) -> AccessRefused:
        """Return why a user may hear no more, and count it."""

    def spawn(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Let something run on its own."""


class Account:
    """One stream's standing.

    Args:
        credit: The desk.
        place: The stream's.
        allowance: Its user's.
        trusted: Whether the store admitted it: then it goes on while the store is away.
    """

    def __init__(self, credit: Credit, place: Place, allowance: Allowance, *, trusted: bool) -> None:
        self.place = place
        self.allowance = allowance
        self.trusted = trusted
        #: Why nothing more may be heard, once that is so.
        self.refusal: AccessRefused | None = None
        self._credit = credit
        self._meter = Meter()
        self._paid = self._used = 0
        self._asked = 0  # microseconds that are waited for
        self._is_short = False  # the store was asked for them, and has not so many
        self._pays_ahead = False  # the store has to be waited for
        self._is_buying = self._is_closed = False
        self._turn = asyncio.Lock()

    def grant(self, samples: int, rate: int) -> int | None:
        """Pay for samples and return how many may be heard; None: wait until ``ready``, then ask again.

        Fewer than asked: nothing more may ever be heard, and ``refusal`` says why.
        """
        if self.refusal is not None:
            return 0
        cost = self._meter.cost(samples, rate)
        room = self._room(cost)
        if room is None:
            self._asked = cost
            return None
        self._asked, self._is_short = 0, False
        if room < cost:
            self.refusal = self._credit.refuse(self.place.user, self.allowance, self._used)
            samples = self._meter.fitting(room, rate)
        self._meter.hear(samples, rate)
        self._look_ahead()
        return samples

    async def ready(self) -> None:
        """Wait until ``grant`` knows."""
        while self.is_waiting:
            buying = self._credit.spawn(self._buy(lambda: self.is_waiting))
            away = self._credit.spawn(self._credit.away.wait())
            try:
                done, _ = await asyncio.wait({buying, away}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                away.cancel()
            if buying in done:
                buying.result()  # what is not the store's absence ends the stream

    async def settle(self) -> bool:
        """Pay for what was heard unpaid while the store was away; return whether it could be asked."""
        return await self._buy(lambda: True)

    async def close(self) -> None:
        """Pay exactly what was heard, and give the place back.

        Raises:
            StoreAway: Not done; to be done again.
        """
        async with self._turn:
            self._is_closed = True
            self._take(await self._credit.store.charge(self._claim(0)))
            await self._credit.store.release(self.place)

    @property
    def ahead(self) -> int:
        """Microseconds that are paid and not heard."""
        return max(0, self._paid - self._meter.heard)

    @property
    def is_waiting(self) -> bool:
        """Whether ``grant`` cannot say yet."""
        waits = self._asked > self.ahead and not self._is_short
        return waits and not self._is_alone and not self._is_closed

    @property
    def _is_alone(self) -> bool:
        return self._credit.away.is_set()

    def _room(self, cost: int) -> int | None:
        """Return how many of ``cost`` microseconds are paid or need not be, or None: nobody knows yet."""
        if cost <= self.ahead:
            return cost
        boundless = self.allowance.daily is None
        if self._is_alone:
            if self.trusted or boundless:
                return cost
            return self.ahead + self._credit.lend(self.place.user, self.allowance, cost - self.ahead)
        receipt = self._credit.store.charge_now(self._claim(cost))
        if receipt is not None:
            self._take(receipt)
            return min(cost, self.ahead)
        self._pays_ahead = True
        if boundless:
            return cost
        return self.ahead if self._is_short else None

    def _look_ahead(self) -> None:
        """Have more paid in time, so that a client that speaks never waits."""
        if self._pays_ahead and self.ahead < AHEAD // 2 and not self._is_buying and self.refusal is None:
            self._is_buying = True
            self._credit.spawn(self._buy_ahead())

    async def _buy_ahead(self) -> None:
        await self._buy(lambda: self.ahead < AHEAD // 2 and not self._is_alone)
        self._is_buying = False

    async def _buy(self, needed: Callable[[], bool]) -> bool:
        async with self._turn:
            if self._is_closed or not needed():
                return True
            least = self._asked
            try:
                receipt = await self._credit.store.charge(self._claim(least + AHEAD))
            except StoreAway as away:
                self._credit.lost(away)
                return False
            self._take(receipt)
            self._is_short = self.ahead < least
            return True

    def _claim(self, more: int) -> Claim:
        heard = self._meter.heard
        return Claim(self.place, self._paid, heard, heard + more, self.allowance.daily)

    def _take(self, receipt: Receipt) -> None:
        self._paid, self._used = receipt.paid, receipt.used


def minutes_refused(limit: int, used: int, *, lent: bool = False) -> AccessRefused:
    """Return the refusal for a user whose minutes are used up.

    Args:
        limit: Microseconds of audio that were allowed.
        used: Microseconds that were heard.
        lent: They were all that is allowed while nobody can say how many there are.
    """
    minutes = to_minutes(limit)
    message = f"The {minutes:g} minutes of today are used up. The next day begins at midnight UTC."
    if lent:
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


def streams_refused(limit: int, active: int) -> AccessRefused:
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

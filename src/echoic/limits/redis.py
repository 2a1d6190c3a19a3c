"""Quotas that several processes share, in Redis or whatever speaks its protocol (the extra ``redis``)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from echoic.limits import scripts
from echoic.limits.quota import Admission, Receipt, StoreAway, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echoic.limits.quota import Allowance, Claim, Place

#: Seconds that the server may take to be reached, and to answer; with the repeat less than the audio that is
#: still paid when more is asked for, so that a server that does not answer delays nobody who speaks.
_PATIENCE: Final = 0.45
#: Every step may be repeated; a connection that was lost while it lay idle is replaced at once.
_REPEATS: Final = 1
#: Connections; a step takes a tenth of a millisecond, so that many streams share few.
_CONNECTIONS: Final = 16
#: Seconds that a step may wait for one of them: all streams end at once when a server stops.
_QUEUE_PATIENCE: Final = 5.0
_NO_LIMIT: Final = -1


class RedisQuotas:
    """Keeps places and minutes in Redis, by the server's clock.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: Of all keys.
        patience: Seconds that the server may take to be reached, and to answer.
    """

    def __init__(self, url: str, prefix: str = "echoic:quota:", patience: float = _PATIENCE) -> None:
        self._prefix = prefix
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=_QUEUE_PATIENCE,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), _REPEATS),
            )
        )

    async def acquire(self, place: Place, allowance: Allowance, ttl: float) -> Admission:
        """See ``QuotaStore.acquire``."""
        keys = self._keys(place.user, "streams", "paid", "days")
        limits = _limit(allowance.streams), _limit(allowance.daily)
        admitted, active, used = await self._run(scripts.ACQUIRE, keys, place.lease, _ms(ttl), *limits)
        return Admission(active, used, bool(admitted))

    async def renew(self, places: Sequence[tuple[Place, Allowance]], ttl: float) -> list[bool]:
        """See ``QuotaStore.renew``; all of them in one round trip."""
        try:
            with _reached():
                return await self._renew(places, ttl)
        except StoreAway:  # next time by new connections: the address may mean another server now
            await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise

    async def release(self, place: Place) -> None:
        """See ``QuotaStore.release``."""
        await self._run(scripts.RELEASE, self._keys(place.user, "streams", "paid"), place.lease)

    async def charge(self, claim: Claim) -> Receipt:
        """See ``QuotaStore.charge``."""
        keys = self._keys(claim.place.user, "paid", "days")
        totals = claim.paid, claim.heard, claim.wanted, _limit(claim.limit)
        paid, used = await self._run(scripts.CHARGE, keys, claim.place.lease, *totals)
        return Receipt(paid, used)

    def charge_now(self, claim: Claim) -> Receipt | None:  # noqa: ARG002  # the Protocol's
        """See ``QuotaStore.charge_now``; always None."""
        return None

    async def usage(self, user: str) -> Usage:
        """See ``QuotaStore.usage``."""
        active, used = await self._run(scripts.USAGE, self._keys(user, "streams", "days"))
        return Usage(active, used)

    async def ping(self) -> None:
        """See ``QuotaStore.ping``; one round trip."""
        with _reached():
            await self._renew((), 0)

    async def close(self) -> None:
        """Close the connections."""
        with _reached():
            await self._redis.aclose()

    async def _renew(self, places: Sequence[tuple[Place, Allowance]], ttl: float) -> list[bool]:
        async with self._redis.pipeline(transaction=False) as together:
            together.ping()  # so that the server is asked even for no place
            for place, allowance in places:
                keys = self._keys(place.user, "streams", "paid")
                together.eval(scripts.RENEW, 2, *keys, place.lease, _ms(ttl), _limit(allowance.streams))
            return [bool(held) for held in (await together.execute())[1:]]

    def _keys(self, user: str, *names: str) -> list[str]:
        tag = quote(user, safe="")
        return [f"{self._prefix}{{{tag}}}:{name}" for name in names]

    async def _run(self, script: str, keys: list[str], *args: str | int) -> list[int]:
        """Run a script; by its text, so that a server that was started anew need not be told it first."""
        with _reached():
            answer: list[int] = await self._redis.eval(script, len(keys), *keys, *args)
            return answer


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:  # what is refused for good counts as away too: the stream goes on
        raise StoreAway(type(error).__name__) from error


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _limit(value: int | None) -> int:
    return _NO_LIMIT if value is None else value

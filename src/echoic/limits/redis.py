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
from echoic.limits.quota import ChargeResult, LeaseResult, QuotaStoreUnavailable, QuotaUsage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from echoic.limits.quota import Charge, StreamLease, TierLimits

#: Seconds that the server may take to be reached, and to answer; with the repeat less than the audio that is
#: still paid when more is asked for, so that a server that does not answer delays nobody who speaks.
_TIMEOUT_SECONDS: Final = 0.45
#: Every step may be repeated; a connection that was lost while it lay idle is replaced at once.
_MAX_RETRIES: Final = 1
#: Connections; a step takes a tenth of a millisecond, so that many streams share few.
_MAX_CONNECTIONS: Final = 16
#: Seconds that a step may wait for one of them: all streams end at once when a server stops.
_POOL_TIMEOUT_SECONDS: Final = 5.0
_NO_LIMIT: Final = -1


class RedisQuotaStore:
    """Keeps places and minutes in Redis, by the server's clock.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: Of all keys.
        patience: Seconds that the server may take to be reached, and to answer.
    """

    def __init__(self, url: str, prefix: str = "echoic:quota:", patience: float = _TIMEOUT_SECONDS) -> None:
        self._prefix = prefix
        self._client = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=_MAX_CONNECTIONS,
                timeout=_POOL_TIMEOUT_SECONDS,
                socket_timeout=patience,
                socket_connect_timeout=patience,
                retry=Retry(NoBackoff(), _MAX_RETRIES),
            )
        )

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """See ``QuotaStore.acquire``."""
        keys = self._build_keys(lease.user, "streams", "paid", "days")
        limits = _encode_limit(tier_limits.max_streams), _encode_limit(tier_limits.daily_microseconds)
        admitted, active, used = await self._run_script(
            scripts.ACQUIRE_SCRIPT, keys, lease.lease_id, _to_milliseconds(ttl_seconds), *limits
        )
        return LeaseResult(active, used, bool(admitted))

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew``; all of them in one round trip."""
        try:
            with _translate_errors():
                return await self._renew_in_pipeline(leases, ttl_seconds)
        except QuotaStoreUnavailable:  # next time by new connections: the address may mean another server now
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release``."""
        await self._run_script(
            scripts.RELEASE_SCRIPT, self._build_keys(lease.user, "streams", "paid"), lease.lease_id
        )

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        keys = self._build_keys(charge.lease.user, "paid", "days")
        totals = charge.paid, charge.consumed, charge.requested, _encode_limit(charge.daily_limit)
        paid, used = await self._run_script(scripts.CHARGE_SCRIPT, keys, charge.lease.lease_id, *totals)
        return ChargeResult(paid, used)

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:  # noqa: ARG002  # the Protocol's
        """See ``QuotaStore.charge_now``; always None."""
        return None

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.usage``."""
        active, used = await self._run_script(scripts.USAGE_SCRIPT, self._build_keys(user, "streams", "days"))
        return QuotaUsage(active, used)

    async def ping(self) -> None:
        """See ``QuotaStore.ping``; one round trip."""
        with _translate_errors():
            await self._renew_in_pipeline((), 0)

    async def close(self) -> None:
        """Close the connections."""
        with _translate_errors():
            await self._client.aclose()

    async def _renew_in_pipeline(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        async with self._client.pipeline(transaction=False) as together:
            together.ping()  # so that the server is asked even for no place
            for place, allowance in leases:
                keys = self._build_keys(place.user, "streams", "paid")
                together.eval(
                    scripts.RENEW_SCRIPT,
                    2,
                    *keys,
                    place.lease_id,
                    _to_milliseconds(ttl_seconds),
                    _encode_limit(allowance.max_streams),
                )
            return [bool(held) for held in (await together.execute())[1:]]

    def _build_keys(self, user: str, *names: str) -> list[str]:
        tag = quote(user, safe="")
        return [f"{self._prefix}{{{tag}}}:{name}" for name in names]

    async def _run_script(self, script: str, keys: list[str], *args: str | int) -> list[int]:
        """Run a script; by its text, so that a server that was started anew need not be told it first."""
        with _translate_errors():
            answer: list[int] = await self._client.eval(script, len(keys), *keys, *args)
            return answer


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:  # what is refused for good counts as away too: the stream goes on
        raise QuotaStoreUnavailable(type(error).__name__) from error


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _encode_limit(value: int | None) -> int:
    return _NO_LIMIT if value is None else value

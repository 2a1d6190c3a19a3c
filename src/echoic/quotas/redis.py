"""A quota store in Redis; each operation is one Lua script and one round trip.

Times are those of the Redis server. The keys of a user share a hash tag, so that a cluster keeps them on one
node: ``streams`` (sorted set: lease → expiry in ms), ``paid`` (hash: lease → µs) and ``days`` (hash: day →
µs). A limit of -1 means unlimited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from echoic.quotas.model import (
    Charge,
    ChargeResult,
    LeaseResult,
    QuotaStoreUnavailable,
    QuotaUsage,
    StreamLease,
    TierLimits,
)

_LUA_CLOCK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local day = math.floor(time[1] / 86400)
"""

#: Expiry of a user's keys after their last change, in seconds: leases last up to an hour, usage two days.
_LUA_EXPIRY: Final = """
local leases_kept, minutes_kept = 7200, 172800
"""

_LUA_FORGET_EXPIRED: Final = """
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], lease)
  redis.call('HDEL', KEYS[2], lease)
end
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
local active = redis.call('ZCARD', KEYS[1])
"""

_LUA_HOLD_LEASE: Final = """
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
redis.call('EXPIRE', KEYS[1], leases_kept)
"""

#: KEYS: streams, paid, days. ARGV: lease, TTL in ms, max streams, µs per day. Returns admitted, active, used.
ACQUIRE_SCRIPT: Final = f"""{_LUA_CLOCK}{_LUA_EXPIRY}{_LUA_FORGET_EXPIRED}
local used = tonumber(redis.call('HGET', KEYS[3], day) or 0)
local streams, daily = tonumber(ARGV[3]), tonumber(ARGV[4])
if not held then
  if (streams >= 0 and active >= streams) or (daily >= 0 and used >= daily) then
    return {{0, active, used}}
  end
  active = active + 1
end
{_LUA_HOLD_LEASE}
return {{1, active, used}}
"""

#: KEYS: streams, paid. ARGV: lease, TTL in ms, max streams. Returns whether the lease is held.
RENEW_SCRIPT: Final = f"""{_LUA_CLOCK}{_LUA_EXPIRY}{_LUA_FORGET_EXPIRED}
local streams = tonumber(ARGV[3])
if not held and streams >= 0 and active >= streams then
  return 0
end
{_LUA_HOLD_LEASE}
return 1
"""

#: KEYS: streams, paid. ARGV: lease.
RELEASE_SCRIPT: Final = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
"""

#: KEYS: paid, days. ARGV: lease, paid, consumed, requested, µs per day. Returns paid, used.
#: ``model.settle_charge`` in Lua.
CHARGE_SCRIPT: Final = f"""{_LUA_CLOCK}{_LUA_EXPIRY}
local paid = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[2])
local used = tonumber(redis.call('HGET', KEYS[2], day) or 0)
local consumed, requested, daily = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local owed = math.max(0, consumed - paid)
local more = requested - paid - owed
if daily >= 0 and more > 0 then
  more = math.min(more, math.max(0, daily - used - owed))
end
paid = paid + owed + more
used = math.max(0, used + owed + more)
redis.call('HSET', KEYS[1], ARGV[1], paid)
redis.call('EXPIRE', KEYS[1], minutes_kept)
if redis.call('HSET', KEYS[2], day, used) == 1 then
  for _, other in ipairs(redis.call('HKEYS', KEYS[2])) do
    if math.abs(other - day) > 1 then
      redis.call('HDEL', KEYS[2], other)
    end
  end
end
redis.call('EXPIRE', KEYS[2], minutes_kept)
return {{paid, used}}
"""

#: KEYS: streams, days. Returns active, used.
USAGE_SCRIPT: Final = f"""{_LUA_CLOCK}
local active = redis.call('ZCOUNT', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
return {{active, tonumber(redis.call('HGET', KEYS[2], day) or 0)}}
"""

#: Timeout of connecting and of each answer, in seconds. Even with the retry it is shorter than the audio that
#: is still prepaid when more is requested, so that a silent server does not delay a live stream.
_TIMEOUT_SECONDS: Final = 0.45
#: Every operation is idempotent; the retry replaces a connection that was lost while idle.
_MAX_RETRIES: Final = 1
#: The size of the connection pool; an operation takes a tenth of a millisecond, so few connections suffice.
_MAX_CONNECTIONS: Final = 16
#: Seconds to wait for a free connection: all streams end at once when a server stops.
_POOL_TIMEOUT_SECONDS: Final = 5.0
_NO_LIMIT: Final = -1


class RedisQuotaStore:
    """Stores leases and usage in Redis, by the Redis server's clock.

    Args:
        url: The server's URL: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: The prefix of all keys.
        timeout_seconds: The timeout of connecting and of each answer, in seconds.
    """

    def __init__(
        self, url: str, prefix: str = "echoic:quota:", timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        self._prefix = prefix
        self._client = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=_MAX_CONNECTIONS,
                timeout=_POOL_TIMEOUT_SECONDS,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), _MAX_RETRIES),
            )
        )

    async def acquire_lease(
        self, lease: StreamLease, tier_limits: TierLimits, ttl_seconds: float
    ) -> LeaseResult:
        """See ``QuotaStore.acquire_lease``."""
        keys = self._build_keys(lease.user, "streams", "paid", "days")
        limits = _encode_limit(tier_limits.max_streams), _encode_limit(tier_limits.daily_microseconds)
        admitted, active, used = await self._run_script(
            ACQUIRE_SCRIPT, keys, lease.lease_id, _to_milliseconds(ttl_seconds), *limits
        )
        return LeaseResult(active, used, bool(admitted))

    async def renew_leases(
        self, leases: Sequence[tuple[StreamLease, TierLimits]], ttl_seconds: float
    ) -> list[bool]:
        """See ``QuotaStore.renew_leases``; one round trip for all leases."""
        try:
            with _translate_errors():
                return await self._renew_in_pipeline(leases, ttl_seconds)
        except QuotaStoreUnavailable:  # reconnect next time: the host name may have moved
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise

    async def release_lease(self, lease: StreamLease) -> None:
        """See ``QuotaStore.release_lease``."""
        await self._run_script(
            RELEASE_SCRIPT, self._build_keys(lease.user, "streams", "paid"), lease.lease_id
        )

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge_audio``."""
        keys = self._build_keys(charge.lease.user, "paid", "days")
        totals = charge.paid, charge.consumed, charge.requested, _encode_limit(charge.daily_limit)
        paid, used = await self._run_script(CHARGE_SCRIPT, keys, charge.lease.lease_id, *totals)
        return ChargeResult(paid, used)

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:  # noqa: ARG002  # the Protocol's
        """See ``QuotaStore.charge_audio_now``; always returns None."""
        return None

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.read_usage``."""
        active, used = await self._run_script(USAGE_SCRIPT, self._build_keys(user, "streams", "days"))
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
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.ping()  # so that there is a round trip even without leases
            for lease, tier_limits in leases:
                keys = self._build_keys(lease.user, "streams", "paid")
                pipeline.eval(
                    RENEW_SCRIPT,
                    2,
                    *keys,
                    lease.lease_id,
                    _to_milliseconds(ttl_seconds),
                    _encode_limit(tier_limits.max_streams),
                )
            return [bool(held) for held in (await pipeline.execute())[1:]]

    def _build_keys(self, user: str, *names: str) -> list[str]:
        tag = quote(user, safe="")
        return [f"{self._prefix}{{{tag}}}:{name}" for name in names]

    async def _run_script(self, script: str, keys: list[str], *args: str | int) -> list[int]:
        """Run a script by its text, so that a restarted server needs no reload of scripts."""
        with _translate_errors():
            answer: list[int] = await self._client.eval(script, len(keys), *keys, *args)
            return answer


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:  # permanent errors count as unavailable too: the stream continues
        raise QuotaStoreUnavailable(type(error).__name__) from error


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _encode_limit(value: int | None) -> int:
    return _NO_LIMIT if value is None else value

"""What a Redis server does for quotas, in Lua: each script is one step and one round trip.

Times are the server's. The keys of one user bear one hash tag, so that a cluster keeps them together:
``streams`` (sorted set: lease → end in ms), ``paid`` (hash: lease → µs) and ``days`` (hash: day → µs).
A limit of -1 is none.
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

#: Seconds that a user's keys outlive the last change: leases of an hour, minutes of a day and the one before.
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

#: KEYS: streams, paid, days. ARGV: lease, TTL in ms, most streams, µs a day. Returns admitted, active, used.
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

#: KEYS: streams, paid. ARGV: lease, TTL in ms, most streams. Returns whether it is held.
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

#: KEYS: paid, days. ARGV: lease, paid, heard, wanted, µs a day. Returns paid, used; ``quota.settle`` in Lua.
CHARGE_SCRIPT: Final = f"""{_LUA_CLOCK}{_LUA_EXPIRY}
local paid = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or ARGV[2])
local used = tonumber(redis.call('HGET', KEYS[2], day) or 0)
local heard, wanted, daily = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local owed = math.max(0, heard - paid)
local more = wanted - paid - owed
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
            ACQUIRE_SCRIPT, keys, lease.lease_id, _to_milliseconds(ttl_seconds), *limits
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
            RELEASE_SCRIPT, self._build_keys(lease.user, "streams", "paid"), lease.lease_id
        )

    async def charge_audio(self, charge: Charge) -> ChargeResult:
        """See ``QuotaStore.charge``."""
        keys = self._build_keys(charge.lease.user, "paid", "days")
        totals = charge.paid, charge.consumed, charge.requested, _encode_limit(charge.daily_limit)
        paid, used = await self._run_script(CHARGE_SCRIPT, keys, charge.lease.lease_id, *totals)
        return ChargeResult(paid, used)

    def charge_audio_now(self, charge: Charge) -> ChargeResult | None:  # noqa: ARG002  # the Protocol's
        """See ``QuotaStore.charge_now``; always None."""
        return None

    async def read_usage(self, user: str) -> QuotaUsage:
        """See ``QuotaStore.usage``."""
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
        async with self._client.pipeline(transaction=False) as together:
            together.ping()  # so that the server is asked even for no place
            for place, allowance in leases:
                keys = self._build_keys(place.user, "streams", "paid")
                together.eval(
                    RENEW_SCRIPT,
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

"""What a Redis server does for quotas, in Lua: each script is one step and one round trip.

Times are the server's. The keys of one user bear one hash tag, so that a cluster keeps them together:
``streams`` (sorted set: lease → end in ms), ``paid`` (hash: lease → µs) and ``days`` (hash: day → µs).
A limit of -1 is none.
"""

from __future__ import annotations

from typing import Final

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

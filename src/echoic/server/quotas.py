"""The desk of a server: where its streams are counted, as the settings say."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from echoic.limits.desk import Desk, Terms
from echoic.limits.memory import MemoryQuotas
from echoic.limits.quota import from_minutes, to_minutes
from echoic.limits.tiers import Tiers

if TYPE_CHECKING:
    from echoic.limits.desk import Standing
    from echoic.limits.identity import Identity
    from echoic.limits.quota import QuotaStore
    from echoic.server.metrics import Metrics
    from echoic.server.settings import Settings
    from echoic.server.streams import Streams


def desk_of(settings: Settings, metrics: Metrics) -> Desk:
    """Return where the streams of a server are counted.

    Args:
        settings: Of the server.
        metrics: Which count refusals.
    """
    terms = Terms(
        tiers=Tiers().over(settings.tier_limits),
        ttl=settings.stream_ttl_seconds,
        lent=from_minutes(settings.failopen_cap_minutes),
        count=metrics.refused,
    )
    desk = Desk(_store(settings.redis_url), terms)
    metrics.store_away.set_function(lambda: desk.is_away)
    return desk


def _store(redis_url: str | None) -> QuotaStore:
    if redis_url is None:
        return MemoryQuotas()
    store: QuotaStore = import_module("echoic.limits.redis").RedisQuotas(redis_url)
    return store


def limits_body(identity: Identity, standing: Standing, streams: Streams) -> dict[str, object]:
    """Return what ``GET …/limits`` answers to a user."""
    daily, used = standing.allowance.daily, standing.used
    remaining = None if daily is None or used is None else to_minutes(max(0, daily - used))
    server_has_room = not streams.draining and not streams.full
    return {
        "tier": identity.tier,
        "limits": {
            "daily_minutes": None if daily is None else to_minutes(daily),
            "concurrent_streams": standing.allowance.streams,
        },
        "used_today_minutes": None if used is None else to_minutes(used),
        "remaining_minutes": remaining,
        "active_streams": standing.active,
        "server_max_streams": streams.most,
        "can_start_stream": standing.admitted and server_has_room,
    }

"""The desk of a server: where its streams are counted, as the settings say."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from echoic.limits.desk import QuotaLedger, QuotaPolicy
from echoic.limits.memory import MemoryQuotaStore
from echoic.limits.quota import from_minutes, to_minutes
from echoic.limits.tiers import Tiers

if TYPE_CHECKING:
    from echoic.limits.desk import QuotaStatus
    from echoic.limits.identity import Identity
    from echoic.limits.quota import QuotaStore
    from echoic.server.metrics import Metrics
    from echoic.server.settings import Settings
    from echoic.server.streams import StreamAdmission


def build_quota_ledger(settings: Settings, metrics: Metrics) -> QuotaLedger:
    """Return where the streams of a server are counted.

    Args:
        settings: Of the server.
        metrics: Which count refusals.
    """
    terms = QuotaPolicy(
        tiers=Tiers().with_overrides(settings.tier_limits),
        lease_ttl=settings.stream_ttl_seconds,
        failopen_microseconds=from_minutes(settings.failopen_cap_minutes),
        count_refusal=metrics.count_quota_refusal,
    )
    desk = QuotaLedger(_build_quota_store(settings.redis_url), terms)
    metrics.quota_store_away.set_function(lambda: desk.is_store_unavailable)
    return desk


def _build_quota_store(redis_url: str | None) -> QuotaStore:
    if redis_url is None:
        return MemoryQuotaStore()
    store: QuotaStore = import_module("echoic.limits.redis").RedisQuotas(redis_url)
    return store


def build_limits_body(identity: Identity, status: QuotaStatus, streams: StreamAdmission) -> dict[str, object]:
    """Return what ``GET …/limits`` answers to a user."""
    daily, used = status.tier_limits.daily_microseconds, status.used_microseconds
    remaining = None if daily is None or used is None else to_minutes(max(0, daily - used))
    server_has_room = not streams.is_draining and not streams.is_full
    return {
        "tier": identity.tier,
        "limits": {
            "daily_minutes": None if daily is None else to_minutes(daily),
            "concurrent_streams": status.tier_limits.max_streams,
        },
        "used_today_minutes": None if used is None else to_minutes(used),
        "remaining_minutes": remaining,
        "active_streams": status.active_streams,
        "server_max_streams": streams.max_streams,
        "can_start_stream": status.can_open_stream and server_has_room,
    }

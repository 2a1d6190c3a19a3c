"""Which voice-activity detector the streams of a server get."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from echoic.auth.identity import Identity
from echoic.diarization import models
from echoic.errors import ModelUnavailable, Unavailable
from echoic.insights.providers import InsightProviders
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.logging import log_event
from echoic.observability.metrics import Metrics
from echoic.quotas.ledger import QuotaLedger, QuotaObserver, QuotaPolicy, QuotaStatus
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import QuotaStore, from_minutes, to_minutes
from echoic.quotas.tiers import Tiers
from echoic.scheduling.diarizer_pool import DiarizerPool
from echoic.server.settings.addons import DIARIZER_OFF, AddOnSettings
from echoic.server.stream.addons import AddOnServices
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.recordings import Recordings
from echoic.session.config import STORAGE_UNAVAILABLE, Capabilities, InsightOptions

if TYPE_CHECKING:
    from echoic.server.settings.groups import Settings

log = logging.getLogger(__name__)


def build_silero_factory() -> Callable[[], VoiceActivityDetector] | None:
    """Return what makes a stream's detector, or None where the model is missing: every window is decoded."""
    from echoic.engines.silero import SileroModel  # noqa: PLC0415  # an optional part is imported where it is used

    try:
        return SileroModel().build_detector
    except ModelUnavailable as error:
        log_event(log, logging.WARNING, "voice.unavailable", reason=error.reason, install=error.install)
        return None


def build_scripted_factory() -> Callable[[], VoiceActivityDetector]:
    """Return what makes a detector that takes every sound for speech, as the scripted recogniser needs it."""
    from echoic.engines.scripted import PlateauDetector  # noqa: PLC0415  # for tests and load only

    return PlateauDetector


log = logging.getLogger(__name__)


def build_add_on_services(settings: AddOnSettings) -> AddOnServices:
    """Return it; of models nothing is loaded yet."""
    insights = InsightProviders(settings.insight_settings)
    insights.warm_up()  # later it would hold up streams
    missing = find_missing_diarizer(settings)
    if missing is not None and settings.speakers_diarizer != DIARIZER_OFF:
        log.warning("diarizer.missing", extra={"event_values": {"diarizer": settings.speakers_diarizer}})
    listeners = None
    if missing is None:
        name, model = settings.speakers_diarizer, settings.speakers_model
        listeners = DiarizerPool(
            lambda: models.load_diarizer(name, model), timeout=settings.speakers_timeout_seconds
        )
    folder = settings.speakers_audio_dir
    recordings = None if folder is None else Recordings(folder.expanduser(), settings.speakers_audio_days)

    def missing_insights(wishes: InsightOptions) -> Unavailable | None:
        found = insights.find_provider(wishes)
        return (
            _explain_missing("There will be no insights.", found) if isinstance(found, Unavailable) else None
        )

    return AddOnServices(
        capabilities=Capabilities(
            diarization=missing,
            storage=None if recordings else STORAGE_UNAVAILABLE,
            insights=missing_insights,
        ),
        diarizer_pool=listeners,
        recordings=recordings,
        insight_providers=insights,
    )


def find_missing_diarizer(settings: AddOnSettings) -> Unavailable | None:
    """Return why speakers cannot be told apart, or None: they can."""
    if settings.speakers_diarizer == DIARIZER_OFF:
        return Unavailable("Telling speakers apart is switched off on this server.")
    missing = models.probe_diarizer(settings.speakers_diarizer, settings.speakers_model)
    return None if missing is None else _explain_missing("Speakers cannot be told apart.", missing)


def _explain_missing(consequence: str, missing: Unavailable) -> Unavailable:
    return Unavailable(f"{consequence} {missing.reason}", missing.install)


def build_quota_ledger(
    settings: Settings, metrics: Metrics, observer: QuotaObserver | None = None
) -> QuotaLedger:
    """Return where the streams of a server are counted.

    Args:
        settings: Of the server.
        metrics: Which count refusals.
        observer: Follows the calls of a store of quotas that is shared; None: nothing does.
    """
    terms = QuotaPolicy(
        tiers=Tiers().with_overrides(settings.tier_limits),
        lease_ttl=settings.stream_ttl_seconds,
        failopen_microseconds=from_minutes(settings.failopen_cap_minutes),
        count_refusal=metrics.count_quota_refusal,
    )
    desk = QuotaLedger(
        _build_quota_store(settings.redis_url), terms, observer if settings.redis_url is not None else None
    )
    metrics.quota_store_away.set_function(lambda: desk.is_store_unavailable)
    return desk


def _build_quota_store(redis_url: str | None) -> QuotaStore:
    if redis_url is None:
        return MemoryQuotaStore()
    store: QuotaStore = import_module("echoic.quotas.redis").RedisQuotaStore(redis_url)
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

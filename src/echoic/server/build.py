"""Builds what a server holds from its settings: services, quotas, tracing, speech detection and add-ons."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import TYPE_CHECKING

from echoic.auth.access import AccessControl, build_access_control
from echoic.auth.network import AddressList
from echoic.auth.revocation import RevocationMonitor
from echoic.diarization import models
from echoic.engines.models import build_standard_registry
from echoic.engines.registry import Registry
from echoic.errors import ModelUnavailable, Unavailable
from echoic.insights.providers import InsightProviders
from echoic.insights.settings import InsightSettings
from echoic.interfaces.vad import VoiceActivityDetector
from echoic.observability.logging import log_event
from echoic.observability.metrics import EngineMetricsCollector, Metrics
from echoic.quotas.ledger import QuotaLedger, QuotaObserver, QuotaPolicy
from echoic.quotas.memory import MemoryQuotaStore
from echoic.quotas.model import QuotaStore, from_minutes
from echoic.quotas.tiers import Tiers
from echoic.scheduling.diarizer_pool import DiarizerPool
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.context import ModelReadiness, ServerContext
from echoic.server.settings.fields import DIARIZER_OFF
from echoic.server.settings.groups import QuotaSettings, Settings, SpeakerSettings, SttSettings
from echoic.server.settings.server_section import ServerSettings
from echoic.server.stream.addons import AddOnServices
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.connection import Connection
from echoic.server.stream.flow_control import ReadRates, TotalBacklog, WaterMarks
from echoic.server.stream.outbox import OutboxLimits
from echoic.server.stream.recordings import Recordings
from echoic.server.stream.resume import ResumePolicy, ResumeRegistry
from echoic.server.stream.services import StreamLimits, StreamServices
from echoic.server.vocabulary_files import ServerVocabulary
from echoic.session.config import STORAGE_UNAVAILABLE, Capabilities, InsightOptions

if TYPE_CHECKING:  # OpenTelemetry is optional
    from echoic.observability.tracing import Tracing

log = logging.getLogger(__name__)


def build_registry(settings: Settings) -> Registry:
    """Build the table of all models of this version, with weights from where the settings say."""
    return build_standard_registry(
        settings.stt,
        max_concurrency=settings.server.worker_threads,
        include_scripted=settings.server.scripted_engine,
    )


def build_context(settings: Settings, registry: Registry, tracing: Tracing | None) -> ServerContext:
    """Build everything that a server holds; opens no store and loads no recogniser.

    Args:
        settings: The server's settings.
        registry: The models that streams may ask for.
        tracing: Exports spans, or None.
    """
    metrics = Metrics()
    access = build_access_control(settings.auth, settings.server.host, metrics.count_credential)
    observer = None if tracing is None else tracing.build_quota_observer()
    return ServerContext(
        settings=settings,
        registry=registry,
        access=access,
        services=_build_services(settings, registry, metrics, access, tracing),
        readiness=ModelReadiness(),
        ledger=build_quota_ledger(settings.quota, metrics, observer),
        tracing=tracing,
    )


def build_tracing(settings: ServerSettings) -> Tracing | None:
    """Build the exporter of spans, or None if the settings name no collector."""
    if settings.traces_endpoint is None:
        return None
    module = import_module("echoic.observability.tracing")
    tracing: Tracing = module.build_tracing(settings.traces_endpoint, settings.traces_share)
    return tracing


def _build_services(
    settings: Settings, registry: Registry, metrics: Metrics, access: AccessControl, tracing: Tracing | None
) -> StreamServices:
    server, backlog = settings.server, TotalBacklog(settings.server.total_backlog_marks)
    services = StreamServices(
        _build_engine_pool(settings, registry, tracing),
        metrics,
        _build_stream_limits(server),
        StreamAdmission(server.max_sessions, backlog, server.retry_after_seconds),
        addons=build_add_on_services(settings.speakers, settings.insights),
        total_backlog=backlog,
        build_detector=build_scripted_factory() if server.scripted_engine else build_silero_factory(),
        revocation_monitor=None if access.key_store is None else RevocationMonitor(access.key_store),
        trusted_proxies=AddressList.from_text(settings.auth.trusted_proxies or ""),
        resume_registry=ResumeRegistry(
            ResumePolicy(server.resume_seconds, server.resume_sessions, server.resume_bytes)
        ),
        vocabulary=_build_vocabulary(settings.stt),
    )
    _connect_gauges(services)
    return services


def _build_engine_pool(settings: Settings, registry: Registry, tracing: Tracing | None) -> EnginePool:
    pool = EnginePool(
        registry,
        max_concurrency=settings.server.worker_threads,
        idle_seconds=settings.stt.model_idle_seconds,
        hang_seconds=settings.stt.decode_timeout_seconds,
    )
    if tracing is not None:
        pool.observer = tracing.build_decode_observer(_get_stream_name)
    return pool


def _get_stream_name(client: Hashable) -> str | None:
    return client.name if isinstance(client, Connection) else None


def _build_stream_limits(settings: ServerSettings) -> StreamLimits:
    lag = settings.falling_behind_seconds
    return StreamLimits(
        backlog=settings.backlog_marks,
        idle_seconds=settings.idle_timeout_seconds,
        max_seconds=settings.max_stream_seconds,
        outbox=OutboxLimits(
            settings.send_queue_frames, settings.send_queue_bytes, settings.send_timeout_seconds
        ),
        rates=ReadRates(settings.max_messages_per_second, settings.max_audio_rate),
        lag_marks=WaterMarks(lag, lag / 2),
    )


def _build_vocabulary(settings: SttSettings) -> ServerVocabulary:
    return ServerVocabulary(
        settings.custom_vocab_terms_file,
        settings.custom_vocab_replacements_file,
        settings.vocabulary_policy,
    )


def _connect_gauges(services: StreamServices) -> None:
    """Let the metrics read the current state of the services."""
    metrics, streams, backlog = services.metrics, services.streams, services.total_backlog
    sessions = services.resume_registry
    metrics.active_streams.set_function(lambda: len(streams))
    metrics.backlog_seconds.set_function(lambda: backlog.seconds)
    metrics.streams_behind.set_function(lambda: streams.behind_count)
    metrics.is_full.set_function(lambda: streams.is_full)
    metrics.waiting_streams.set_function(lambda: sessions.waiting_count)
    metrics.add_collector(EngineMetricsCollector(services.engines))


def build_silero_factory() -> Callable[[], VoiceActivityDetector] | None:
    """Build the factory of Silero detectors; None if its model is missing: every window is then decoded."""
    from echoic.engines.silero import SileroModel  # noqa: PLC0415  # needs onnxruntime

    try:
        return SileroModel().build_detector
    except ModelUnavailable as error:
        log_event(log, logging.WARNING, "voice.unavailable", reason=error.reason, install=error.install)
        return None


def build_scripted_factory() -> Callable[[], VoiceActivityDetector]:
    """Build the factory of detectors for the scripted recogniser, which treat every sound as speech."""
    from echoic.engines.scripted import PlateauDetector  # noqa: PLC0415  # only for tests and load tests

    return PlateauDetector


def build_quota_ledger(
    settings: QuotaSettings, metrics: Metrics, observer: QuotaObserver | None = None
) -> QuotaLedger:
    """Build the ledger that admits streams and charges their audio.

    Args:
        settings: The tiers and the store.
        metrics: Count refusals, and whether the store is unreachable.
        observer: Observes the calls of a shared store, or None.
    """
    policy = QuotaPolicy(
        tiers=Tiers().with_overrides(settings.tier_limits),
        lease_ttl=settings.stream_ttl_seconds,
        failopen_microseconds=from_minutes(settings.failopen_cap_minutes),
        count_refusal=metrics.count_quota_refusal,
    )
    is_shared = settings.redis_url is not None
    ledger = QuotaLedger(_build_quota_store(settings.redis_url), policy, observer if is_shared else None)
    metrics.quota_store_away.set_function(lambda: ledger.is_store_unavailable)
    return ledger


def _build_quota_store(redis_url: str | None) -> QuotaStore:
    if redis_url is None:
        return MemoryQuotaStore()
    store: QuotaStore = import_module("echoic.quotas.redis").RedisQuotaStore(redis_url)
    return store


def build_add_on_services(speakers: SpeakerSettings, insights: InsightSettings) -> AddOnServices:
    """Build diarization, insights and recording; the diarizer's model is loaded when first needed.

    Args:
        speakers: The diarizer, and where audio is stored.
        insights: The provider of insights.
    """
    providers = InsightProviders(insights)
    providers.warm_up()  # while no stream is delayed by it
    missing = find_missing_diarizer(speakers)
    if missing is not None and speakers.diarizer != DIARIZER_OFF:
        log_event(log, logging.WARNING, "diarizer.missing", diarizer=speakers.diarizer)
    recordings = None if speakers.audio_dir is None else Recordings(speakers.audio_dir, speakers.audio_days)

    def find_missing_insights(options: InsightOptions) -> Unavailable | None:
        found = providers.find_provider(options)
        return (
            _explain_missing("There will be no insights.", found) if isinstance(found, Unavailable) else None
        )

    return AddOnServices(
        capabilities=Capabilities(
            diarization=missing,
            storage=None if recordings else STORAGE_UNAVAILABLE,
            insights=find_missing_insights,
        ),
        diarizer_pool=_build_diarizer_pool(speakers) if missing is None else None,
        recordings=recordings,
        insight_providers=providers,
    )


def _build_diarizer_pool(settings: SpeakerSettings) -> DiarizerPool:
    return DiarizerPool(
        lambda: models.load_diarizer(settings.diarizer, settings.model), timeout=settings.timeout_seconds
    )


def find_missing_diarizer(settings: SpeakerSettings) -> Unavailable | None:
    """Return why diarization is unavailable, or None if it is available."""
    if settings.diarizer == DIARIZER_OFF:
        return Unavailable("Speaker diarization is turned off on this server.")
    missing = models.probe_diarizer(settings.diarizer, settings.model)
    return None if missing is None else _explain_missing("Speakers cannot be told apart.", missing)


def _explain_missing(consequence: str, missing: Unavailable) -> Unavailable:
    return Unavailable(f"{consequence} {missing.reason}", missing.install)

from __future__ import annotations

from pathlib import Path

import pytest

from echoic.engines.registry import ModelSpec, Registry
from echoic.engines.scripted import ScriptedEngine
from echoic.insights.settings import InsightSettings
from echoic.observability.metrics import Metrics
from echoic.quotas.memory import MemoryQuotaStore
from echoic.server.build import (
    build_add_on_services,
    build_context,
    build_quota_ledger,
    build_registry,
    build_tracing,
    find_missing_diarizer,
)
from echoic.server.settings.groups import QuotaSettings, Settings, SpeakerSettings
from echoic.server.settings.server_section import ServerSettings
from echoic.session.config import InsightOptions


def build_scripted_registry() -> Registry:
    return Registry([ModelSpec("scripted", "scripted", "standard", lambda: None, ScriptedEngine)], "scripted")


def read(**settings: object) -> Settings:
    return Settings.model_validate({"scripted_engine": True, "speakers_diarizer": "scripted", **settings})


def test_the_scripted_model_is_opt_in(tmp_path: Path) -> None:
    assert "scripted" in build_registry(read(models_dir=tmp_path)).names
    assert "scripted" not in build_registry(read(models_dir=tmp_path, scripted_engine=False)).names


async def test_settings_reach_the_services() -> None:
    settings = read(
        max_sessions=7,
        retry_after_seconds=9,
        send_queue_frames=5,
        max_audio_rate=2,
        trusted_proxies="10.0.0.1",
    )
    services = build_context(settings, build_scripted_registry(), None).services
    assert (services.streams.max_streams, services.streams.retry_after) == (7, 9)
    assert services.limits.outbox.max_frames == 5
    assert services.limits.rates.audio_per_second == 2
    assert services.trusted_proxies
    assert services.revocation_monitor is None


async def test_gauges_read_the_current_state() -> None:
    services = build_context(read(max_sessions=1), build_scripted_registry(), None).services
    text = services.metrics.render_text().decode()
    for name in ("echoic_streams_active", "echoic_backlog_seconds", "echoic_streams_waiting", "echoic_full"):
        assert f"\n{name} 0.0\n" in text


def test_without_a_collector_there_is_no_tracing() -> None:
    assert build_tracing(ServerSettings()) is None


def test_without_redis_quotas_are_kept_in_memory() -> None:
    ledger = build_quota_ledger(QuotaSettings(), Metrics())
    assert isinstance(ledger.store, MemoryQuotaStore)


async def test_add_ons_that_are_turned_off_say_so() -> None:
    services = build_add_on_services(SpeakerSettings(diarizer="off"), InsightSettings(provider="off"))
    capabilities = services.capabilities
    assert services.diarizer_pool is None
    assert services.recordings is None
    missing = capabilities.insights(InsightOptions())
    assert missing is not None
    assert missing.reason.startswith("There will be no insights.")
    assert capabilities.storage is not None
    assert capabilities.diarization is not None
    assert capabilities.diarization.reason == "Speaker diarization is turned off on this server."
    await services.close()


async def test_add_ons_that_are_available_have_no_reason(tmp_path: Path) -> None:
    services = build_add_on_services(
        SpeakerSettings(diarizer="scripted", audio_dir=tmp_path), InsightSettings()
    )
    capabilities = services.capabilities
    assert (capabilities.diarization, capabilities.storage) == (None, None)
    assert capabilities.insights(InsightOptions()) is None
    await services.close()


@pytest.mark.parametrize(("diarizer", "is_missing"), [("scripted", False), ("off", True)])
def test_a_missing_diarizer_is_explained(diarizer: str, *, is_missing: bool) -> None:
    assert (find_missing_diarizer(SpeakerSettings(diarizer=diarizer)) is not None) is is_missing

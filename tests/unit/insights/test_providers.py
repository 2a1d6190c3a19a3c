from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from echoic.errors import Unavailable
from echoic.insights.base import InsightProvider, TranscriptSegment
from echoic.insights.providers import InsightProviders
from echoic.insights.scheduler import InsightScheduler
from echoic.insights.settings import InsightSettings
from echoic.session.config import InsightOptions
from support.fake_llm import run_fake_llm

if TYPE_CHECKING:
    from echoic.protocol.frames import Insight, InsightError

LLM = InsightSettings(provider="llm", base_url="http://127.0.0.1:9/v1", model="small", models=("large",))


def select(providers: InsightProviders, options: InsightOptions | None = None) -> InsightProvider:
    provider = providers.find_provider(options or InsightOptions())
    assert not isinstance(provider, Unavailable)
    return provider


def find_reason(providers: InsightProviders, options: InsightOptions | None = None) -> Unavailable:
    unavailable = providers.find_provider(options or InsightOptions())
    assert isinstance(unavailable, Unavailable)
    return unavailable


def test_by_default_only_rules_are_available() -> None:
    providers = InsightProviders()
    assert (select(providers).name, select(providers).model) == ("rules", "extractive")
    assert select(providers) is select(providers)
    assert "no language model" in find_reason(providers, InsightOptions(provider="llm")).reason


def test_a_language_model_is_available_beside_rules() -> None:
    providers = InsightProviders(LLM)
    assert (select(providers).name, select(providers).model) == ("llm", "small")
    assert select(providers, InsightOptions(model="large")).model == "large"
    assert select(providers, InsightOptions(provider="rules")).name == "rules"
    assert "does not offer" in find_reason(providers, InsightOptions(model="huge")).reason


def test_switched_off_insights_are_off_for_every_client() -> None:
    assert (
        "switched off"
        in find_reason(
            InsightProviders(InsightSettings(provider="off")), InsightOptions(provider="rules")
        ).message
    )


def test_the_default_provider_is_loaded_in_advance() -> None:
    InsightProviders(LLM).warm_up()
    InsightProviders().warm_up()
    InsightProviders(InsightSettings(provider="off")).warm_up()


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    unavailable = find_reason(InsightProviders(LLM))
    assert unavailable.install == "pip install 'echoic[insights]'"
    assert unavailable.install in unavailable.message


def test_a_client_may_only_lengthen_the_interval() -> None:
    providers = InsightProviders(InsightSettings(interval_seconds=90, window_segments=6))
    assert providers.build_schedule() == providers.build_schedule(
        InsightOptions(interval_seconds=5, window_segments=6)
    )
    assert providers.build_schedule(InsightOptions(interval_seconds=300, window_segments=12)).interval == 300
    assert providers.build_schedule(InsightOptions(window_segments=12)).min_segments == 12


@pytest.mark.parametrize("name", ["rules", "llm"])
async def test_a_session_gets_its_final_insight(name: str) -> None:
    frames: list[Insight | InsightError] = []
    async with run_fake_llm() as model:
        providers = InsightProviders(InsightSettings(provider="llm", base_url=model.address, model="small"))
        scheduler = providers.build_scheduler("s", InsightOptions(provider=name), frames.append)
        assert isinstance(scheduler, InsightScheduler)
        scheduler.on_final(TranscriptSegment(1, "We ship on Friday.", 0.0, 2.0))
        scheduler.on_commit()
        await scheduler.wait_for_final(10)
        await providers.close()
    (frame,) = frames
    assert frame.type == "insight"
    assert (frame.provider, frame.stage, frame.insight_id) == (name, "final", "s-1")
    assert frame.summary in (("We ship on Friday.",), ("The launch moves to May.",))

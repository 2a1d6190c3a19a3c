from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from echoic.errors import Unavailable
from echoic.insights.base import TranscriptSegment
from echoic.insights.providers import InsightProviders, InsightSettings
from echoic.insights.scheduler import InsightScheduler
from echoic.session.insight_options import InsightOptions
from support.loopback_llm import run_loopback_llm

if TYPE_CHECKING:
    from echoic.insights.base import InsightProvider
    from echoic.protocol.frames import Insight, InsightError

LLM = InsightSettings(provider="llm", base_url="http://127.0.0.1:9/v1", model="small", models=("large",))


def found(offer: InsightProviders, wishes: InsightOptions | None = None) -> InsightProvider:
    provider = offer.find_provider(wishes or InsightOptions())
    assert not isinstance(provider, Unavailable)
    return provider


def missing(offer: InsightProviders, wishes: InsightOptions | None = None) -> Unavailable:
    answer = offer.find_provider(wishes or InsightOptions())
    assert isinstance(answer, Unavailable)
    return answer


def test_by_default_rules_are_offered_and_nothing_else() -> None:
    offer = InsightProviders()
    assert (found(offer).name, found(offer).model) == ("rules", "extractive")
    assert found(offer) is found(offer)
    assert "no language model" in missing(offer, InsightOptions(provider="llm")).reason


def test_a_language_model_is_offered_with_its_further_models_and_beside_rules() -> None:
    offer = InsightProviders(LLM)
    assert (found(offer).name, found(offer).model) == ("llm", "small")
    assert found(offer, InsightOptions(model="large")).model == "large"
    assert found(offer, InsightOptions(provider="rules")).name == "rules"
    assert "not offered" in missing(offer, InsightOptions(model="huge")).reason


def test_what_is_switched_off_is_off_for_everybody() -> None:
    assert (
        "switched off"
        in missing(
            InsightProviders(InsightSettings(provider="off")), InsightOptions(provider="rules")
        ).message
    )


def test_what_is_offered_can_be_loaded_before_it_is_needed() -> None:
    InsightProviders(LLM).warm_up()
    InsightProviders().warm_up()
    InsightProviders(InsightSettings(provider="off")).warm_up()


def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    answer = missing(InsightProviders(LLM))
    assert answer.install == "pip install 'echoic[insights]'"
    assert answer.install in answer.message


def test_a_client_may_ask_for_longer_intervals_than_the_servers_and_not_for_shorter_ones() -> None:
    offer = InsightProviders(InsightSettings(interval=90, window_segments=6))
    assert offer.build_schedule() == offer.build_schedule(
        InsightOptions(interval_seconds=5, window_segments=6)
    )
    assert offer.build_schedule(InsightOptions(interval_seconds=300, window_segments=12)).interval == 300
    assert offer.build_schedule(InsightOptions(window_segments=12)).min_segments == 12


@pytest.mark.parametrize("name", ["rules", "llm"])
async def test_a_watched_session_gets_its_final_insight(name: str) -> None:
    frames: list[Insight | InsightError] = []
    async with run_loopback_llm() as model:
        offer = InsightProviders(InsightSettings(provider="llm", base_url=model.address, model="small"))
        watcher = offer.build_scheduler("s", InsightOptions(provider=name), frames.append)
        assert isinstance(watcher, InsightScheduler)
        watcher.on_final(TranscriptSegment(1, "Alice will send the report by Friday.", 0.0, 2.0))
        watcher.on_commit()
        await watcher.wait_for_final(10)
        await offer.close()
    (frame,) = frames
    assert frame.type == "insight"
    assert (frame.provider, frame.stage, frame.insight_id) == (name, "final", "s-1")
    assert frame.action_items[0].owner in ("Alice", "Ann")

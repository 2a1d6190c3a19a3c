from __future__ import annotations

import pytest

from echoic.errors import ErrorCode, ProtocolError
from echoic.session.insight_options import InsightOptions, list_unknown_keys, parse_insights


@pytest.mark.parametrize("value", [True, {}, {"enabled": True}, {"enabled": None, "provider": None}])
def test_insights_may_be_asked_for_as_they_come(value: object) -> None:
    assert parse_insights(value) == InsightOptions()


@pytest.mark.parametrize("value", [False, {"enabled": False}, {"enabled": False, "interval_seconds": 0}])
def test_insights_may_be_refused(value: object) -> None:
    assert parse_insights(value) is None


def test_every_wish_is_read() -> None:
    value = {"interval_seconds": 120, "window_segments": 12.0, "provider": " LLM ", "model": " small "}
    assert parse_insights(value) == InsightOptions(120.0, 12, "llm", "small")


def test_the_names_of_the_system_before_this_one_are_known_too() -> None:
    value = {"summary_interval_seconds": 120, "context_window_segments": 12}
    assert parse_insights(value) == InsightOptions(120.0, 12)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("yes", "insights"),
        (1, "insights"),
        ([], "insights"),
        ({"enabled": 1}, "insights.enabled"),
        ({"interval_seconds": 0}, "insights.interval_seconds"),
        ({"interval_seconds": "90"}, "insights.interval_seconds"),
        ({"interval_seconds": True}, "insights.interval_seconds"),
        ({"interval_seconds": float("nan")}, "insights.interval_seconds"),
        ({"summary_interval_seconds": -1}, "insights.summary_interval_seconds"),
        ({"window_segments": 0}, "insights.window_segments"),
        ({"window_segments": 1.5}, "insights.window_segments"),
        ({"provider": "openai"}, "insights.provider"),
        ({"model": " "}, "insights.model"),
        ({"model": "m" * 200}, "insights.model"),
    ],
)
def test_a_wish_that_cannot_be_is_an_error_that_names_it(value: object, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_insights(value)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    assert caught.value.detail["field"] == field


def test_keys_nobody_knows_are_named_and_do_no_harm() -> None:
    value = {"style": "short", "model": "m", "base_url": "http://elsewhere"}
    assert parse_insights(value) == InsightOptions(model="m")
    assert list_unknown_keys(value) == ("insights.base_url", "insights.style")
    assert list_unknown_keys(True) == ()

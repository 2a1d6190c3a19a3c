from __future__ import annotations

from echoic.insights.base import InsightSettings


def test_the_settings_do_not_show_the_api_key() -> None:
    assert "s3cret" not in repr(InsightSettings(provider="llm", api_key="s3cret", model="m"))

from __future__ import annotations

import pytest
from pydantic import ValidationError

from echoic.insights.settings import InsightSettings


def test_model_names_are_split_at_commas() -> None:
    settings = InsightSettings.model_validate({"models": "a, b,,c "})
    assert settings.models == ("a", "b", "c")
    assert InsightSettings(models=("x",)).models == ("x",)


def test_an_address_without_http_is_rejected() -> None:
    with pytest.raises(ValidationError, match="should begin with http"):
        InsightSettings(base_url="127.0.0.1:11434")


def test_the_key_is_not_shown() -> None:
    settings = InsightSettings.model_validate({"api_key": "s3cret"})
    assert "s3cret" not in f"{settings!r} {settings.model_dump()}"

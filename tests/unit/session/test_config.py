"""Tests of values in ``config`` frames; tests/conformance has the behaviour on the wire."""

from __future__ import annotations

import pytest

from echoic.errors import ErrorCode, ProtocolError
from echoic.session.config import InsightOptions, StreamConfig, parse_config

DEFAULT = StreamConfig()


def _parse_insights(value: object) -> InsightOptions | None:
    return parse_config({"insights": value}, DEFAULT)[0].insights


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"chunk_duration": 0.19}, "chunk_duration"),
        ({"chunk_duration": 60.5}, "chunk_duration"),
        ({"chunk_duration": "2"}, "chunk_duration"),
        ({"chunk_duration": True}, "chunk_duration"),
        ({"chunk_duration": [2]}, "chunk_duration"),
        ({"overlap_duration": -0.1}, "overlap_duration"),
        ({"overlap_duration": 2.0}, "overlap_duration"),
        ({"chunk_duration": 1.0, "overlap_duration": 1.0}, "overlap_duration"),
        ({"sample_rate": 7_999}, "sample_rate"),
        ({"sample_rate": 192_001}, "sample_rate"),
        ({"sample_rate": 16_000.5}, "sample_rate"),
        ({"sample_rate": "16000"}, "sample_rate"),
        ({"channels": 0}, "channels"),
        ({"channels": 9}, "channels"),
        ({"audio_format": "mp3"}, "audio_format"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"model": "x" * 129}, "model"),
        ({"model_variant": "tensorrt"}, "model_variant"),
        ({"variant": "fast"}, "model_variant"),
        ({"enable_partial": "yes"}, "enable_partial"),
        ({"partial_interval": 0}, "partial_interval"),
        ({"min_partial_duration": -1}, "min_partial_duration"),
        ({"word_timestamps": 1}, "word_timestamps"),
        ({"language": 5}, "language"),
        ({"diarization": "on"}, "diarization"),
        ({"diarize": 1}, "diarize"),
        ({"insights": {"enabled": "sure"}}, "insights.enabled"),
        ({"vocabulary": ["CUDA"]}, "vocabulary"),
    ],
)
def test_an_invalid_value_is_named(values: dict[str, object], field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_config(values, DEFAULT)
    assert caught.value.code is ErrorCode.INVALID_CONFIG
    name = "model_variant" if caught.value.detail["field"] == "variant" else caught.value.detail["field"]
    assert name == field
    assert field.rpartition(".")[2] in caught.value.message or "variant" in caught.value.message


@pytest.mark.parametrize(
    ("model", "variant", "expected"),
    [
        ("parakeet", None, "standard"),
        ("parakeet-onnx", None, "onnx"),
        ("parakeet-mlx", None, "mlx"),
        ("parakeet-mlx", "onnx", "onnx"),
        ("parakeet-tdt-0.6b-v3-onnx", None, "onnx"),
        ("whisper-1", None, "standard"),
    ],
)
def test_an_explicit_variant_overrides_the_suffix(model: str, variant: str | None, expected: str) -> None:
    assert parse_config({"model": model, "model_variant": variant}, DEFAULT)[0].variant == expected


@pytest.mark.parametrize(
    ("value", "enabled"),
    [
        ({}, True),
        (True, True),
        ({"enabled": True, "x": 1}, True),
        (False, False),
        ({"enabled": False}, False),
    ],
)
def test_add_ons_take_a_boolean_or_an_object(value: object, enabled: bool) -> None:  # noqa: FBT001
    config, _ = parse_config({"insights": value, "diarize": value}, DEFAULT)
    asked = [config.insights is not None, config.diarization is not None]
    assert asked == [enabled, enabled]


@pytest.mark.parametrize("value", [True, {}, {"enabled": True}, {"enabled": None, "provider": None}])
def test_insights_may_be_requested_with_defaults(value: object) -> None:
    assert _parse_insights(value) == InsightOptions()


@pytest.mark.parametrize("value", [False, {"enabled": False}, {"enabled": False, "interval_seconds": 0}])
def test_insights_may_be_switched_off(value: object) -> None:
    assert _parse_insights(value) is None


def test_all_insight_options_are_parsed() -> None:
    value = {"interval_seconds": 120, "window_segments": 12.0, "provider": " LLM ", "model": " small "}
    assert _parse_insights(value) == InsightOptions(120.0, 12, "llm", "small")


def test_insight_keys_have_second_names() -> None:
    value = {"summary_interval_seconds": 120, "context_window_segments": 12}
    assert _parse_insights(value) == InsightOptions(120.0, 12)


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
def test_an_invalid_insight_option_is_named(value: object, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        _parse_insights(value)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    assert caught.value.detail["field"] == field


def test_unknown_insight_keys_are_ignored_and_listed() -> None:
    value = {"style": "short", "model": "m", "base_url": "http://elsewhere"}
    assert _parse_insights(value) == InsightOptions(model="m")
    assert parse_config({"insights": value}, DEFAULT)[1] == ("insights.base_url", "insights.style")
    assert parse_config({"insights": True}, DEFAULT)[1] == ()

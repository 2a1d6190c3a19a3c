from __future__ import annotations

import pytest

from echoic.engines.models import build_standard_registry
from echoic.engines.registry import ModelSpec, Registry, resolve_model_id
from echoic.engines.scripted import ScriptedEngine
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import ModelRequest


def build_spec(name: str, missing: Unavailable | None = None) -> ModelSpec:
    return ModelSpec(name, name, "standard", lambda: missing, ScriptedEngine)


@pytest.mark.parametrize(
    ("model", "variant", "name"),
    [
        ("parakeet", None, "parakeet-standard"),
        ("parakeet", "standard", "parakeet-standard"),
        ("parakeet", "onnx", "parakeet-onnx"),
        ("parakeet-mlx", None, "parakeet-mlx"),
        ("parakeet-onnx", None, "parakeet-onnx"),
        ("parakeet-standard", None, "parakeet-standard"),
        ("parakeet-mlx", "onnx", "parakeet-onnx"),
        ("parakeet-mlx", "standard", "parakeet-standard"),
        ("parakeet-tdt-0.6b-v3-onnx", None, "parakeet-onnx"),
        ("parakeet-tdt-0.6b-v3-onnx", "mlx", "parakeet-mlx"),
        (" Parakeet-MLX ", None, "parakeet-mlx"),
        ("whisper", "standard", "whisper"),
        ("whisper-1", "onnx", "whisper"),
        ("moonshine", None, "moonshine-tiny-en"),
        ("moonshine-tiny-en", "standard", "moonshine-tiny-en"),
        ("no-such", "onnx", "no-such"),
    ],
)
def test_a_name_and_a_variant_map_to_a_model(model: str, variant: str | None, name: str) -> None:
    assert resolve_model_id(model, variant) == name


def test_an_available_model_has_no_fallback_reason() -> None:
    resolved = Registry([build_spec("scripted")]).resolve_model(
        ModelRequest("scripted", "standard"), fallback=True
    )
    assert (resolved.model_id, resolved.fallback_reason) == ("scripted", None)


def test_an_unavailable_model_has_a_reason_and_a_command() -> None:
    registry = Registry(
        [build_spec("whisper", Unavailable("No wheel.", "pip install wheel")), build_spec("scripted")],
        "scripted",
    )
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve_model(ModelRequest("whisper-1", "standard"), fallback=False)
    assert refused.value.detail == {
        "model": "whisper-1",
        "reason": "No wheel.",
        "install": "pip install wheel",
    }


def test_the_default_replaces_a_model_and_says_why() -> None:
    registry = Registry([build_spec("whisper", Unavailable("No wheel.")), build_spec("scripted")], "scripted")
    resolved = registry.resolve_model(ModelRequest("whisper", "standard"), fallback=True)
    assert resolved.model_id == "scripted"
    assert resolved.fallback_reason == (
        "The model 'whisper' is not available here. No wheel. The model 'scripted' is used instead."
    )


def test_a_missing_default_is_no_fallback() -> None:
    registry = Registry(
        [build_spec("whisper", Unavailable("No wheel.")), build_spec("scripted", Unavailable("Gone."))],
        "scripted",
    )
    for name in ("whisper", "scripted"):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve_model(ModelRequest(name, "standard"), fallback=True)
        assert refused.value.model == name


@pytest.mark.parametrize("fallback", [True, False])
def test_an_unknown_name_lists_the_known_ones(*, fallback: bool) -> None:
    with pytest.raises(ModelUnavailable, match=r"parakeet, .*whisper-1, moonshine, moonshine-tiny-en"):
        build_standard_registry().resolve_model(ModelRequest("gpt-9", "standard"), fallback=fallback)

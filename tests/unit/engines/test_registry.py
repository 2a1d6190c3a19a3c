from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from echoic.engines import models
from echoic.engines.models import build_standard_registry
from echoic.engines.registry import DEFAULT_MODEL, ModelSpec, Registry, resolve_model_id
from echoic.engines.scripted import ScriptedEngine
from echoic.engines.settings import EngineSettings
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import ModelRequest
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

if TYPE_CHECKING:
    from pathlib import Path


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
def test_a_name_means(model: str, variant: str | None, name: str) -> None:
    assert resolve_model_id(model, variant) == name


def test_all_models_of_this_version_are_listed() -> None:
    assert {row.id for row in build_standard_registry().describe_models()} == {
        "parakeet-standard",
        "parakeet-onnx",
        "parakeet-mlx",
        "whisper",
        "moonshine-tiny-en",
    }


def test_parakeet_onnx_without_weights_names_the_command(tmp_path: Path) -> None:
    rows = {
        row.id: row for row in build_standard_registry(EngineSettings(models_dir=tmp_path)).describe_models()
    }
    row = rows["parakeet-onnx"]
    assert (row.available, row.reason) == (False, "Its weights have not been downloaded.")
    assert row.install == "echoic models get parakeet-tdt-0.6b-v3-onnx"


def test_parakeet_onnx_uses_a_configured_folder_or_the_cache(tmp_path: Path) -> None:
    given = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER, models_dir=tmp_path)
    )
    assert given.resolve_model(ModelRequest("parakeet-onnx", "onnx"), fallback=False).fallback_reason is None
    assert given.load_engine("parakeet-onnx").requirements.strategy == "stateful"
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(TINY_PARAKEET_FOLDER)
    fetched = build_standard_registry(EngineSettings(models_dir=tmp_path))
    assert (
        fetched.resolve_model(ModelRequest("parakeet-onnx", "onnx"), fallback=False).model_id
        == "parakeet-onnx"
    )


def test_each_downloaded_parakeet_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(TINY_PARAKEET_FOLDER)
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    answer = registry.resolve_model(ModelRequest("parakeet-tdt-0.6b-v2-onnx", "standard"), fallback=False)
    assert (answer.model_id, answer.fallback_reason) == ("parakeet-tdt-0.6b-v2-onnx", None)
    assert registry.load_engine(answer.model_id).requirements.has_word_times
    assert registry.list_languages(answer.model_id) == ("en",)
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve_model(ModelRequest("parakeet-tdt_ctc-110m-onnx", "standard"), fallback=False)
    assert refused.value.install == "echoic models get parakeet-tdt_ctc-110m-onnx"


def test_parakeet_onnx_reports_a_defect_of_its_folder(tmp_path: Path) -> None:
    registry = build_standard_registry(EngineSettings(parakeet_onnx_dir=tmp_path / "none"))
    row = next(row for row in registry.describe_models() if row.id == "parakeet-onnx")
    assert str(row.reason).startswith("There is no folder")
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        registry.load_engine("parakeet-onnx")


def test_word_times_are_known_without_loading() -> None:
    registry = build_standard_registry(
        EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER), include_scripted=True
    )
    there = [row for row in registry.describe_models() if row.available]
    assert {row.id for row in there} >= {"parakeet-onnx", "scripted"}
    for row in there:
        engine = registry.load_engine(row.id)
        assert engine.requirements.has_word_times is row.word_timestamps, row.id
        engine.close()


def test_parakeet_onnx_is_suggested_where_nemo_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None if name == "nemo" else name)
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    installs = {}
    for name in ("parakeet", "parakeet-standard"):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve_model(ModelRequest(name, "standard"), fallback=False)
        installs[name] = refused.value.install
    assert installs == {
        "parakeet": "echoic models get parakeet-tdt-0.6b-v3-onnx",
        "parakeet-standard": "pip install 'echoic[nemo]'",
    }


def test_another_parakeet_stands_in_before_the_default() -> None:
    registry = build_standard_registry(EngineSettings(parakeet_onnx_dir=TINY_PARAKEET_FOLDER))
    choice = registry.resolve_model(ModelRequest("parakeet", "standard"), fallback=True)
    assert choice.model_id == "parakeet-onnx"
    assert str(choice.fallback_reason).endswith("The model 'parakeet-onnx' answers instead.")
    refusal = ModelUnavailable("parakeet-onnx", "It is damaged.")
    if not registry.describe_models()[-1].available:
        pytest.skip("the default model is not here")
    assert registry.resolve_fallback("parakeet-onnx", refusal, fallback=True).model_id == DEFAULT_MODEL


def test_missing_libraries_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda module: None if module == "nemo" else object())
    models.check_extra_installed("whisper")
    with pytest.raises(ModelUnavailable) as refused:
        models.check_extra_installed("nemo")
    assert refused.value.reason == "The package nemo_toolkit is not installed."
    assert refused.value.install == "pip install 'echoic[nemo]'"
    monkeypatch.setattr(models, "find_spec", lambda _module: None)
    rows = {row.id: row for row in build_standard_registry().describe_models()}
    assert rows["whisper"].reason == "The packages faster-whisper and ctranslate2 are not installed."
    assert rows["parakeet-onnx"].install == "pip install onnxruntime"


def test_the_default_is_unavailable_without_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _module: None)
    row = next(row for row in build_standard_registry().describe_models() if row.id == DEFAULT_MODEL)
    assert (row.available, row.install) == (False, "pip install onnxruntime")


def test_the_default_is_unavailable_without_its_runtime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("echoic.engines.moonshine", raising=False)
    monkeypatch.setitem(sys.modules, "echoic.engines.moonshine", None)
    row = next(row for row in build_standard_registry().describe_models() if row.id == DEFAULT_MODEL)
    assert not row.available
    assert "cannot be imported" in str(row.reason)


def test_the_scripted_model_is_there_only_when_asked_for() -> None:
    with pytest.raises(ModelUnavailable):
        build_standard_registry().resolve_model(ModelRequest("scripted", "standard"), fallback=True)
    with_it = build_standard_registry(include_scripted=True)
    assert with_it.resolve_model(ModelRequest("scripted", "standard"), fallback=False).model_id == "scripted"
    assert with_it.load_engine("scripted").name == "scripted"
    assert "scripted" not in build_standard_registry().names


def test_an_available_model_is_given_without_a_word() -> None:
    choice = Registry([build_spec("scripted")]).resolve_model(
        ModelRequest("scripted", "standard"), fallback=True
    )
    assert (choice.model_id, choice.fallback_reason) == ("scripted", None)


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


def test_with_fallback_the_default_answers_and_says_why() -> None:
    registry = Registry([build_spec("whisper", Unavailable("No wheel.")), build_spec("scripted")], "scripted")
    choice = registry.resolve_model(ModelRequest("whisper", "standard"), fallback=True)
    assert choice.model_id == "scripted"
    assert choice.fallback_reason == (
        "The model 'whisper' is not available here. No wheel. The model 'scripted' answers instead."
    )


def test_a_default_that_is_missing_too_is_no_fallback() -> None:
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

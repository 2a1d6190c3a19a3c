from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from echoic.engines import seats
from echoic.engines.registry import DEFAULT, Registry, Seat, resolve_name
from echoic.engines.scripted import Scripted
from echoic.engines.seats import Wishes, standard_registry
from echoic.errors import Missing, ModelUnavailable
from echoic.session.effects import ModelRequest
from support.tiny_parakeet import FOLDER

if TYPE_CHECKING:
    from pathlib import Path


def seat(name: str, missing: Missing | None = None) -> Seat:
    return Seat(name, name, "standard", lambda: missing, Scripted)


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
    assert resolve_name(model, variant) == name


def test_all_models_of_this_version_are_listed() -> None:
    assert {row.id for row in standard_registry().describe()} == {
        "parakeet-standard",
        "parakeet-onnx",
        "parakeet-mlx",
        "whisper",
        "moonshine-tiny-en",
    }


def test_parakeet_by_onnxruntime_without_weights_names_the_command_that_brings_them(tmp_path: Path) -> None:
    rows = {row.id: row for row in standard_registry(Wishes(models_dir=tmp_path)).describe()}
    row = rows["parakeet-onnx"]
    assert (row.available, row.reason) == (False, "Its weights are not here.")
    assert row.install == "echoic models get parakeet-tdt-0.6b-v3-onnx"


def test_parakeet_by_onnxruntime_is_there_with_a_folder_or_what_was_fetched(tmp_path: Path) -> None:
    given = standard_registry(Wishes(parakeet_onnx_dir=FOLDER, models_dir=tmp_path))
    assert given.resolve(ModelRequest("parakeet-onnx", "onnx"), fallback=False).fallback is None
    assert given.load("parakeet-onnx").needs.reading == "carried"
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(FOLDER)
    fetched = standard_registry(Wishes(models_dir=tmp_path))
    assert fetched.resolve(ModelRequest("parakeet-onnx", "onnx"), fallback=False).name == "parakeet-onnx"


def test_each_parakeet_that_was_fetched_can_be_asked_for_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "parakeet-tdt-0.6b-v2-onnx").symlink_to(FOLDER)
    registry = standard_registry(Wishes(models_dir=tmp_path))
    answer = registry.resolve(ModelRequest("parakeet-tdt-0.6b-v2-onnx", "standard"), fallback=False)
    assert (answer.name, answer.fallback) == ("parakeet-tdt-0.6b-v2-onnx", None)
    assert registry.load(answer.name).needs.times
    assert registry.languages(answer.name) == ("en",)
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve(ModelRequest("parakeet-tdt_ctc-110m-onnx", "standard"), fallback=False)
    assert refused.value.install == "echoic models get parakeet-tdt_ctc-110m-onnx"


def test_parakeet_by_onnxruntime_says_what_is_wrong_with_its_folder(tmp_path: Path) -> None:
    registry = standard_registry(Wishes(parakeet_onnx_dir=tmp_path / "none"))
    row = next(row for row in registry.describe() if row.id == "parakeet-onnx")
    assert str(row.reason).startswith("There is no folder")
    with pytest.raises(ModelUnavailable, match="There is no folder"):
        registry.load("parakeet-onnx")


def test_the_status_knows_without_loading_which_models_give_times() -> None:
    registry = standard_registry(Wishes(parakeet_onnx_dir=FOLDER), scripted=True)
    there = [row for row in registry.describe() if row.available]
    assert {row.id for row in there} >= {"parakeet-onnx", "scripted"}
    for row in there:
        engine = registry.load(row.id)
        assert engine.needs.times is row.word_timestamps, row.id
        engine.close()


def test_any_parakeet_is_least_work_by_onnxruntime_where_nemo_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seats, "find_spec", lambda name: None if name == "nemo" else name)
    registry = standard_registry(Wishes(models_dir=tmp_path))
    installs = {}
    for name in ("parakeet", "parakeet-standard"):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve(ModelRequest(name, "standard"), fallback=False)
        installs[name] = refused.value.install
    assert installs == {
        "parakeet": "echoic models get parakeet-tdt-0.6b-v3-onnx",
        "parakeet-standard": "pip install 'echoic[nemo]'",
    }


def test_another_parakeet_stands_in_before_the_default() -> None:
    registry = standard_registry(Wishes(parakeet_onnx_dir=FOLDER))
    choice = registry.resolve(ModelRequest("parakeet", "standard"), fallback=True)
    assert choice.name == "parakeet-onnx"
    assert str(choice.fallback).endswith("The model 'parakeet-onnx' answers instead.")
    refusal = ModelUnavailable("parakeet-onnx", "It is damaged.")
    if not registry.describe()[-1].available:
        pytest.skip("the default model is not here")
    assert registry.stand_in("parakeet-onnx", refusal, fallback=True).name == DEFAULT


def test_missing_libraries_are_named_with_the_extra_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "find_spec", lambda module: None if module == "nemo" else object())
    seats.require("whisper")
    with pytest.raises(ModelUnavailable) as refused:
        seats.require("nemo")
    assert refused.value.reason == "The package nemo_toolkit is not installed."
    assert refused.value.install == "pip install 'echoic[nemo]'"
    monkeypatch.setattr(seats, "find_spec", lambda _module: None)
    rows = {row.id: row for row in standard_registry().describe()}
    assert rows["whisper"].reason == "The packages faster-whisper and ctranslate2 are not installed."
    assert rows["parakeet-onnx"].install == "pip install onnxruntime"


def test_the_default_is_unavailable_without_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "find_spec", lambda _module: None)
    row = next(row for row in standard_registry().describe() if row.id == DEFAULT)
    assert (row.available, row.install) == (False, "pip install onnxruntime")


def test_the_default_is_unavailable_if_its_runtime_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("echoic.engines.moonshine", raising=False)
    monkeypatch.setitem(sys.modules, "echoic.engines.moonshine", None)
    row = next(row for row in standard_registry().describe() if row.id == DEFAULT)
    assert not row.available
    assert "cannot be imported" in str(row.reason)


def test_the_scripted_model_is_there_only_when_asked_for() -> None:
    with pytest.raises(ModelUnavailable):
        standard_registry().resolve(ModelRequest("scripted", "standard"), fallback=True)
    with_it = standard_registry(scripted=True)
    assert with_it.resolve(ModelRequest("scripted", "standard"), fallback=False).name == "scripted"
    assert with_it.load("scripted").name == "scripted"
    assert "scripted" not in standard_registry().names


def test_an_available_model_is_given_without_a_word() -> None:
    choice = Registry([seat("scripted")]).resolve(ModelRequest("scripted", "standard"), fallback=True)
    assert (choice.name, choice.fallback) == ("scripted", None)


def test_an_unavailable_model_is_refused_with_its_reason_and_install_command() -> None:
    registry = Registry(
        [seat("whisper", Missing("No wheel.", "pip install wheel")), seat("scripted")], "scripted"
    )
    with pytest.raises(ModelUnavailable) as refused:
        registry.resolve(ModelRequest("whisper-1", "standard"), fallback=False)
    assert refused.value.detail == {
        "model": "whisper-1",
        "reason": "No wheel.",
        "install": "pip install wheel",
    }


def test_with_fallback_the_default_answers_and_says_why() -> None:
    registry = Registry([seat("whisper", Missing("No wheel.")), seat("scripted")], "scripted")
    choice = registry.resolve(ModelRequest("whisper", "standard"), fallback=True)
    assert choice.name == "scripted"
    assert choice.fallback == (
        "The model 'whisper' is not available here. No wheel. The model 'scripted' answers instead."
    )


def test_a_default_that_is_missing_too_is_no_fallback() -> None:
    registry = Registry(
        [seat("whisper", Missing("No wheel.")), seat("scripted", Missing("Gone."))], "scripted"
    )
    for name in ("whisper", "scripted"):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve(ModelRequest(name, "standard"), fallback=True)
        assert refused.value.model == name


@pytest.mark.parametrize("fallback", [True, False])
def test_an_unknown_name_is_refused_with_the_known_ones_even_with_fallback(*, fallback: bool) -> None:
    with pytest.raises(ModelUnavailable, match=r"parakeet, .*whisper-1, moonshine, moonshine-tiny-en"):
        standard_registry().resolve(ModelRequest("gpt-9", "standard"), fallback=fallback)

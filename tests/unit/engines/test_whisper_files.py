from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from echoic.engines import models
from echoic.engines.models import build_standard_registry
from echoic.engines.registry import resolve_model_id
from echoic.engines.settings import EngineSettings
from echoic.engines.store.download import download_model
from echoic.engines.store.hub import Hub
from echoic.engines.whisper_files import (
    find_whisper_folder,
    inspect_whisper_folder,
    resolve_size_name,
    resolve_whisper_folder,
)
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import ModelRequest
from support.fake_hub import FakeHub
from support.tiny_parakeet import TINY_PARAKEET_FOLDER
from support.whisper_models import build_whisper_files, write_whisper_folder

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("whisper-tiny", "whisper-tiny.en", "whisper-base", "whisper-small", "whisper-large-v3")


def inspect_broken_folder(folder: Path, name: str = "whisper") -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as error:
        inspect_whisper_folder(folder, name)
    return error.value


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that faster-whisper is installed: probes look for it, and only loading needs it."""
    there = {"faster_whisper", "ctranslate2"}
    monkeypatch.setattr(
        models, "find_spec", lambda module: object() if module in there else find_spec(module)
    )


@pytest.mark.parametrize(
    ("requested", "model_id"),
    [
        ("whisper", "whisper"),
        ("whisper-1", "whisper"),
        ("Whisper-Base", "whisper-base"),
        ("whisper-small.en", "whisper-small.en"),
        ("whisper-large", "whisper-large-v3"),
        ("whisper-turbo", "whisper-large-v3-turbo"),
        ("distil-large-v3", "whisper-distil-large-v3"),
    ],
)
def test_a_client_may_request_a_size_by_name(requested: str, model_id: str) -> None:
    assert resolve_model_id(requested) == model_id
    assert build_standard_registry().list_languages(model_id) == () or model_id.endswith(
        (".en", "distil-large-v3")
    )


def test_a_setting_names_a_size_or_a_folder(tmp_path: Path) -> None:
    assert resolve_whisper_folder("base", tmp_path) == tmp_path / "whisper-base"
    assert resolve_whisper_folder("whisper-turbo", tmp_path) == tmp_path / "whisper-large-v3-turbo"
    assert resolve_whisper_folder("turbo", tmp_path) == tmp_path / "whisper-large-v3-turbo"
    assert resolve_whisper_folder("distil-small.en", tmp_path) == tmp_path / "whisper-distil-small.en"
    assert resolve_whisper_folder(str(tmp_path / "mine"), tmp_path) == tmp_path / "mine"
    assert resolve_size_name("parakeet") == "parakeet"


def test_whisper_is_the_best_size_for_a_cpu(tmp_path: Path) -> None:
    assert find_whisper_folder(tmp_path, NAMES) is None
    for name, expected in (
        ("whisper-large-v3", "whisper-large-v3"),
        ("whisper-tiny", "whisper-tiny"),
        ("whisper-small", "whisper-small"),
        ("whisper-base", "whisper-base"),
    ):
        write_whisper_folder(tmp_path / name)
        assert find_whisper_folder(tmp_path, NAMES) == tmp_path / expected
    (tmp_path / "whisper-base" / "model.bin").unlink()
    assert find_whisper_folder(tmp_path, NAMES) == tmp_path / "whisper-small"


def test_a_complete_folder_passes_with_either_vocabulary(tmp_path: Path) -> None:
    folder = write_whisper_folder(tmp_path / "model")
    assert inspect_whisper_folder(folder) == folder
    (folder / "vocabulary.txt").rename(folder / "vocabulary.json")
    assert inspect_whisper_folder(folder) == folder


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_missing_file_is_named_with_the_command(tmp_path: Path, name: str) -> None:
    folder = write_whisper_folder(tmp_path / "model")
    (folder / name).unlink()
    error = inspect_broken_folder(folder, "whisper-small")
    assert name in error.reason
    assert (error.model, error.install) == ("whisper-small", "echoic models get whisper-small")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"{", "is not JSON"),
        ("model.bin", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("model.bin", b"\x06", "broken, or not in CTranslate2's format"),
        ("model.bin", bytes(100), "broken, or not in CTranslate2's format"),
        (
            "model.bin",
            build_whisper_files("TransformerSpec")["model.bin"],
            "another architecture than Whisper: Tra",
        ),
    ],
)
def test_a_defect_of_a_file_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    folder = write_whisper_folder(tmp_path / "model")
    (folder / name).write_bytes(content)
    error = inspect_broken_folder(folder)
    assert reason in error.reason
    assert error.install == "echoic models get whisper-base"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert inspect_broken_folder(tmp_path / "none").reason == f"There is no folder {tmp_path / 'none'}."


@pytest.mark.usefixtures("installed")
def test_missing_weights_name_the_command(tmp_path: Path) -> None:
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    for requested, command in (("whisper", "whisper-base"), ("whisper-turbo", "whisper-large-v3-turbo")):
        with pytest.raises(ModelUnavailable) as error:
            registry.resolve_model(ModelRequest(requested, "standard"), fallback=False)
        assert error.value.reason == "Its weights have not been downloaded."
        assert error.value.install == f"echoic models get {command}"


@pytest.mark.usefixtures("installed")
def test_a_downloaded_size_becomes_available(tmp_path: Path) -> None:
    hub = FakeHub("Systran/faster-whisper-base", build_whisper_files() | {"README.md": b"#"})
    try:
        folder = download_model("whisper-base", tmp_path, Hub(hub.address))
    finally:
        hub.close()
    assert [name for name, _ in hub.file_requests][-1] == "model.bin"
    assert inspect_whisper_folder(folder) == folder
    registry = build_standard_registry(EngineSettings(models_dir=tmp_path))
    for requested in ("whisper", "whisper-1", "whisper-base"):
        assert (
            registry.resolve_model(ModelRequest(requested, "standard"), fallback=False).fallback_reason
            is None
        )
    rows = {row.id: row.available for row in registry.describe_models()}
    assert rows["whisper"]


@pytest.mark.usefixtures("installed")
def test_whisper_is_the_first_fallback_if_the_settings_say_so(
    tmp_path: Path,
) -> None:
    requested = ModelRequest("parakeet", "mlx")
    wishes = EngineSettings(models_dir=tmp_path, parakeet_onnx_dir=TINY_PARAKEET_FOLDER)
    willing = EngineSettings(
        models_dir=tmp_path, parakeet_onnx_dir=TINY_PARAKEET_FOLDER, streaming_fallback_to_whisper=True
    )
    assert (
        build_standard_registry(willing).resolve_model(requested, fallback=True).model_id == "parakeet-onnx"
    )
    write_whisper_folder(tmp_path / "whisper-base")
    assert build_standard_registry(wishes).resolve_model(requested, fallback=True).model_id == "parakeet-onnx"
    choice = build_standard_registry(willing).resolve_model(requested, fallback=True)
    assert choice.model_id == "whisper"
    assert str(choice.fallback_reason).endswith("The model 'whisper' is used instead.")
    with pytest.raises(ModelUnavailable):
        build_standard_registry(willing).resolve_model(requested, fallback=False)


@pytest.mark.usefixtures("installed")
def test_a_model_that_fails_to_load_is_replaced_by_the_next(tmp_path: Path) -> None:
    write_whisper_folder(tmp_path / "whisper-base")
    wishes = EngineSettings(
        models_dir=tmp_path, parakeet_onnx_dir=TINY_PARAKEET_FOLDER, streaming_fallback_to_whisper=True
    )
    refusal = ModelUnavailable("whisper", "It is broken.")
    assert (
        build_standard_registry(wishes).resolve_fallback("whisper", refusal, fallback=True).model_id
        == "parakeet-onnx"
    )

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from echoic.engines import seats
from echoic.engines.fetch import fetch_model
from echoic.engines.hub import Hub
from echoic.engines.registry import resolve_name
from echoic.engines.seats import Wishes, standard_registry
from echoic.engines.whisper_files import find, folder_of, look_through, size_name
from echoic.errors import ModelUnavailable
from echoic.session.effects import ModelRequest
from support.loopback_hub import LoopbackHub
from support.tiny_parakeet import FOLDER
from support.whisper_folder import whisper_files, write_whisper

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("whisper-tiny", "whisper-tiny.en", "whisper-base", "whisper-small", "whisper-large-v3")


def refusal_of(folder: Path, name: str = "whisper") -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        look_through(folder, name)
    return refused.value


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if faster-whisper were installed: probes look for it, and only loading needs it."""
    there = {"faster_whisper", "ctranslate2"}
    monkeypatch.setattr(seats, "find_spec", lambda module: object() if module in there else find_spec(module))


@pytest.mark.parametrize(
    ("asked", "id_"),
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
def test_a_client_may_ask_for_a_size_by_name(asked: str, id_: str) -> None:
    assert resolve_name(asked) == id_
    assert standard_registry().languages(id_) == () or id_.endswith((".en", "distil-large-v3"))


def test_a_setting_names_a_size_or_a_folder(tmp_path: Path) -> None:
    assert folder_of("base", tmp_path) == tmp_path / "whisper-base"
    assert folder_of("whisper-turbo", tmp_path) == tmp_path / "whisper-large-v3-turbo"
    assert folder_of("turbo", tmp_path) == tmp_path / "whisper-large-v3-turbo"
    assert folder_of("distil-small.en", tmp_path) == tmp_path / "whisper-distil-small.en"
    assert folder_of(str(tmp_path / "mine"), tmp_path) == tmp_path / "mine"
    assert size_name("parakeet") == "parakeet"


def test_of_several_sizes_the_first_that_a_processor_keeps_up_with_is_meant(tmp_path: Path) -> None:
    assert find(tmp_path, NAMES) is None
    for name, expected in (
        ("whisper-large-v3", "whisper-large-v3"),
        ("whisper-tiny", "whisper-tiny"),
        ("whisper-small", "whisper-small"),
        ("whisper-base", "whisper-base"),
    ):
        write_whisper(tmp_path / name)
        assert find(tmp_path, NAMES) == tmp_path / expected
    (tmp_path / "whisper-base" / "model.bin").unlink()
    assert find(tmp_path, NAMES) == tmp_path / "whisper-small"


def test_a_whole_folder_is_accepted_with_either_vocabulary(tmp_path: Path) -> None:
    folder = write_whisper(tmp_path / "model")
    assert look_through(folder) == folder
    (folder / "vocabulary.txt").rename(folder / "vocabulary.json")
    assert look_through(folder) == folder


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_file_that_is_missing_is_named_with_the_command_that_brings_it(tmp_path: Path, name: str) -> None:
    folder = write_whisper(tmp_path / "model")
    (folder / name).unlink()
    refused = refusal_of(folder, "whisper-small")
    assert name in refused.reason
    assert (refused.model, refused.install) == ("whisper-small", "echoic models get whisper-small")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"{", "it is not JSON"),
        ("model.bin", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("model.bin", b"\x06", "broken, or not of CTranslate2's format"),
        ("model.bin", bytes(100), "broken, or not of CTranslate2's format"),
        (
            "model.bin",
            whisper_files("TransformerSpec")["model.bin"],
            "another architecture than Whisper: Tra",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    folder = write_whisper(tmp_path / "model")
    (folder / name).write_bytes(content)
    refused = refusal_of(folder)
    assert reason in refused.reason
    assert refused.install == "echoic models get whisper-base"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal_of(tmp_path / "none").reason == f"There is no folder {tmp_path / 'none'}."


@pytest.mark.usefixtures("library")
def test_a_session_that_asks_for_weights_that_are_not_there_is_told_the_command(tmp_path: Path) -> None:
    registry = standard_registry(Wishes(models_dir=tmp_path))
    for asked, command in (("whisper", "whisper-base"), ("whisper-turbo", "whisper-large-v3-turbo")):
        with pytest.raises(ModelUnavailable) as refused:
            registry.resolve(ModelRequest(asked, "standard"), fallback=False)
        assert refused.value.reason == "Its weights are not here."
        assert refused.value.install == f"echoic models get {command}"


@pytest.mark.usefixtures("library")
def test_a_size_that_a_hub_has_is_fetched_and_then_meant(tmp_path: Path) -> None:
    hub = LoopbackHub("Systran/faster-whisper-base", whisper_files() | {"README.md": b"#"})
    try:
        folder = fetch_model("whisper-base", tmp_path, Hub(hub.address))
    finally:
        hub.close()
    assert [name for name, _ in hub.sent][-1] == "model.bin"
    assert look_through(folder) == folder
    registry = standard_registry(Wishes(models_dir=tmp_path))
    for asked in ("whisper", "whisper-1", "whisper-base"):
        assert registry.resolve(ModelRequest(asked, "standard"), fallback=False).fallback is None
    rows = {row.id: row.available for row in registry.describe()}
    assert rows["whisper"]


@pytest.mark.usefixtures("library")
def test_whisper_stands_in_first_where_the_settings_say_so_and_it_is_there(tmp_path: Path) -> None:
    asked = ModelRequest("parakeet", "mlx")
    wishes = Wishes(models_dir=tmp_path, parakeet_onnx_dir=FOLDER)
    willing = Wishes(models_dir=tmp_path, parakeet_onnx_dir=FOLDER, whisper_stands_in=True)
    assert standard_registry(willing).resolve(asked, fallback=True).name == "parakeet-onnx"
    write_whisper(tmp_path / "whisper-base")
    assert standard_registry(wishes).resolve(asked, fallback=True).name == "parakeet-onnx"
    choice = standard_registry(willing).resolve(asked, fallback=True)
    assert choice.name == "whisper"
    assert str(choice.fallback).endswith("The model 'whisper' answers instead.")
    with pytest.raises(ModelUnavailable):
        standard_registry(willing).resolve(asked, fallback=False)


@pytest.mark.usefixtures("library")
def test_what_cannot_be_loaded_is_passed_over_for_the_next(tmp_path: Path) -> None:
    write_whisper(tmp_path / "whisper-base")
    wishes = Wishes(models_dir=tmp_path, parakeet_onnx_dir=FOLDER, whisper_stands_in=True)
    refusal = ModelUnavailable("whisper", "It is broken.")
    assert standard_registry(wishes).stand_in("whisper", refusal, fallback=True).name == "parakeet-onnx"

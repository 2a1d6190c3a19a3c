from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from echoic.engines.store.cache import (
    find_model_file,
    list_cached_models,
)
from echoic.engines.store.catalogue import MODEL_SOURCES, list_model_names
from echoic.engines.store.download import download_model
from echoic.errors import ModelUnavailable
from support.fake_hub import ENCODER_FILE, JOINT_FILE, FakeHub, download_from

FORMAT_FILES = {
    "parakeet-ctc-0.6b-onnx": ["vocab.txt", "model.int8.onnx"],
    "parakeet-tdt-0.6b-v3-nemo": ["parakeet-tdt-0.6b-v3.nemo"],
    "parakeet-tdt-0.6b-v3-mlx": ["config.json", "model.safetensors"],
    "whisper-base": [
        "preprocessor_config.json",
        "config.json",
        "tokenizer.json",
        "vocabulary.txt",
        "model.bin",
    ],
}


@pytest.mark.parametrize("name", FORMAT_FILES)
def test_each_format_has_its_files_and_the_weights_come_last(
    serve_hub: Callable[[str], FakeHub], tmp_path: Path, name: str
) -> None:
    hub = serve_hub(name)
    hub.files = {file: file.encode() for file in reversed(FORMAT_FILES[name])} | {
        "README.md": b"#",
        "onnx/model.onnx": b"-",
    }
    folder = download_from(hub, tmp_path, name)
    assert [file for file, _ in hub.file_requests] == FORMAT_FILES[name]
    form = MODEL_SOURCES[name].model_format
    assert find_model_file(tmp_path, list_model_names(form)) == folder / FORMAT_FILES[name][-1]
    assert list_cached_models(tmp_path)[0].quantizations == (("int8",) if form == "ctc" else ())
    if form == "ctc":  # the repository lacks what says which architecture it is
        assert json.loads((folder / "config.json").read_bytes()) == {"model_type": "nemo-conformer-ctc"}


def test_float32_is_chosen_if_nothing_smaller_is_published(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["encoder-model.onnx"] = hub.files.pop(ENCODER_FILE)
    assert (download_from(hub, tmp_path) / "encoder-model.onnx").exists()
    with pytest.raises(ModelUnavailable, match=r"has no file encoder-model\.int8\.onnx"):
        download_from(hub, tmp_path, quantization="int8")


def test_the_joint_network_has_the_encoders_quantization(hub: FakeHub, tmp_path: Path) -> None:
    hub.files["decoder_joint-model.int8.onnx"] = b"small"
    names = {file.name for file in download_from(hub, tmp_path).iterdir()}
    assert "decoder_joint-model.int8.onnx" in names
    assert JOINT_FILE not in names


def test_an_unknown_name_gets_suggestions(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"did you mean parakeet-tdt-0\.6b-v3-onnx") as refused:
        download_model("parakeet-0.6b-v3-onnx", tmp_path, None)
    assert refused.value.install is None
    with pytest.raises(ModelUnavailable, match=r"these can: parakeet-tdt-0\.6b-v3-onnx, .*whisper-tiny"):
        download_model("zzz", tmp_path, None)


def test_a_repository_without_a_required_file_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["vocab.txt"]
    with pytest.raises(ModelUnavailable, match=r"has no file vocab\.txt"):
        download_from(hub, tmp_path)

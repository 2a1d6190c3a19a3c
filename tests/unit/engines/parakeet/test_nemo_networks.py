"""Loads NeMo's modules for the tiny Parakeet; needs NeMo: ``make test-extras``."""

from __future__ import annotations

import io
import json
import tarfile
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

import torch

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.nemo import ParakeetNemo
from echoic.engines.parakeet.nemo_files import (
    NEMO_CONFIG_FILE,
    NEMO_WEIGHTS_FILE,
    TorchOptions,
    inspect_nemo_model,
)
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import build_whole_window, join_tokens, read_recordings, write_nemo_file

if TYPE_CHECKING:
    from pathlib import Path

COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nemo_file(tmp_path_factory.mktemp("nemo"))


@pytest.fixture
def folder(file: Path, tmp_path: Path) -> Path:
    """The parts of the model, to be damaged."""
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "parts", filter="data")
    return tmp_path / "parts"


def load_broken_model(folder: Path, device: str = "auto") -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        ParakeetNemo(folder, torch_options=TorchOptions(device=device))
    return refused.value


def change_config(folder: Path, section: str, **values: object) -> None:
    config = json.loads((folder / NEMO_CONFIG_FILE).read_text("utf-8"))
    config[section] |= values
    (folder / NEMO_CONFIG_FILE).write_text(json.dumps(config), "utf-8")


def test_unpacked_parts_equal_the_archive(file: Path, folder: Path) -> None:
    window = build_whole_window(read_recordings()[2][0])
    [packed] = ParakeetNemo(file, COVERED).decode([window])
    [unpacked] = ParakeetNemo(folder, COVERED).decode([window])
    assert packed.committed == unpacked.committed


def test_a_broken_model_names_the_cause_and_the_command(folder: Path) -> None:
    weights = (folder / NEMO_WEIGHTS_FILE).read_bytes()
    (folder / NEMO_WEIGHTS_FILE).write_bytes(weights[: len(weights) // 2])
    error = load_broken_model(folder)
    assert "is damaged, or contains more than weights" in error.reason
    assert error.install == "echoic models get parakeet-tdt-0.6b-v3-nemo"
    (folder / NEMO_WEIGHTS_FILE).write_bytes(weights)
    change_config(folder, "encoder", n_layers=3)
    assert "do not belong to the same model" in load_broken_model(folder).reason
    change_config(folder, "encoder", n_layers=4, self_attention_model="cubist")
    assert "cannot build this model's ConformerEncoder" in load_broken_model(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("a: [", "utf-8")
    assert "cannot be read" in load_broken_model(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("a: ${b}", "utf-8")
    assert "cannot be read" in load_broken_model(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("- a", "utf-8")
    assert "is not a configuration" in load_broken_model(folder).reason


def test_a_configuration_cannot_read_the_environment(folder: Path) -> None:
    config = folder / "model_config.yaml"
    config.write_text(config.read_text("utf-8") + "\nsecret: ${oc.env:HOME}\n", "utf-8")
    assert "refers to values outside the file" in load_broken_model(folder).reason


def test_code_in_the_weights_is_not_executed(folder: Path, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    data = io.BytesIO()
    torch.save({"encoder.x": Program()}, data)
    (folder / NEMO_WEIGHTS_FILE).write_bytes(data.getvalue())
    assert "contains more than weights" in load_broken_model(folder).reason
    assert not (tmp_path / "ran").exists()


def test_an_unavailable_device_is_named(file: Path) -> None:
    assert "cannot use the device 'abacus'" in load_broken_model(file, "abacus").reason
    if not torch.cuda.is_available():
        assert "cannot use the device 'cuda'" in load_broken_model(file, "cuda").reason


def test_calls_do_not_change_the_model(file: Path) -> None:
    from echoic.engines.parakeet.nemo_networks import load_nemo_model  # noqa: PLC0415  # it imports NeMo

    engine = ParakeetNemo(file, COVERED)
    window = build_whole_window(read_recordings()[2][0])
    [before] = engine.decode([window])
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 47 * 16_000).astype(np.float32)
    engine.decode([build_whole_window(noise), *(build_whole_window(audio) for audio, _ in read_recordings())])
    with pytest.raises(ValueError, match="feature frames"):
        engine.decode([build_whole_window(np.tile(noise, 10))])
    assert engine.decode([window])[0].committed == before.committed
    parts = load_nemo_model(inspect_nemo_model(file), TorchOptions()).modules
    assert not any(module.training for part in parts.values() for module in part.modules())
    assert not any(weight.requires_grad for part in parts.values() for weight in part.parameters())


def test_16_bits_give_nearly_the_same_text(file: Path) -> None:
    engine = ParakeetNemo(file, COVERED, TorchOptions(precision="bfloat16"))
    texts = [
        join_tokens(one.committed)
        for one in engine.decode([build_whole_window(audio) for audio, _ in read_recordings()])
    ]
    expected = [text for _, text in read_recordings()]
    assert sum(one == two for one, two in zip(texts, expected, strict=True)) >= len(expected) - 3

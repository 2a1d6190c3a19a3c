"""Parakeet by NeMo's modules: what is refused, what is left alone, and what 16 bits say."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

if find_spec("nemo") is None:
    pytest.skip("NeMo is not installed: make test-extras", allow_module_level=True)

import torch

from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.parakeet.nemo import ParakeetNemo, TorchOptions
from echoic.engines.parakeet.nemo_files import NEMO_CONFIG_FILE, NEMO_WEIGHTS_FILE, inspect_nemo_model
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import build_whole_window, join_tokens, read_recordings, write_nemo_file

if TYPE_CHECKING:
    from pathlib import Path

COVERED = ParakeetOptions(left_context=30.0, right_context=30.0)
SAY_NOTHING = """
import logging, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
logging.basicConfig(level=logging.WARNING)
shown = warnings.showwarning
from echoic.engines.parakeet.nemo import ParakeetNemo
assert "torch" not in sys.modules
engine = ParakeetNemo(Path(sys.argv[1]))
assert warnings.showwarning is shown
assert "nemo" in sys.modules
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nemo_file(tmp_path_factory.mktemp("nemo"))


@pytest.fixture
def folder(file: Path, tmp_path: Path) -> Path:
    """The parts of the model, to be spoilt."""
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "parts", filter="data")
    return tmp_path / "parts"


def refusal(folder: Path, device: str = "auto") -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        ParakeetNemo(folder, torch_options=TorchOptions(device=device))
    return refused.value


def change(folder: Path, section: str, **values: object) -> None:
    config = json.loads((folder / NEMO_CONFIG_FILE).read_text("utf-8"))
    config[section] |= values
    (folder / NEMO_CONFIG_FILE).write_text(json.dumps(config), "utf-8")


def test_loading_says_nothing_and_importing_alone_loads_nothing(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAY_NOTHING, file], capture_output=True, check=True, timeout=110
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_parts_in_a_folder_say_the_same_as_the_file(file: Path, folder: Path) -> None:
    window = build_whole_window(read_recordings()[2][0])
    [packed] = ParakeetNemo(file, COVERED).decode([window])
    [unpacked] = ParakeetNemo(folder, COVERED).decode([window])
    assert packed.committed == unpacked.committed


def test_what_is_broken_is_told_with_the_next_step(folder: Path) -> None:
    weights = (folder / NEMO_WEIGHTS_FILE).read_bytes()
    (folder / NEMO_WEIGHTS_FILE).write_bytes(weights[: len(weights) // 2])
    told = refusal(folder)
    assert "is damaged, or contains more than weights" in told.reason
    assert told.install == "echoic models get parakeet-tdt-0.6b-v3-nemo"
    (folder / NEMO_WEIGHTS_FILE).write_bytes(weights)
    change(folder, "encoder", n_layers=3)
    assert "do not belong to the same model" in refusal(folder).reason
    change(folder, "encoder", n_layers=4, self_attention_model="cubist")
    assert "cannot build this model's ConformerEncoder" in refusal(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("a: [", "utf-8")
    assert "cannot be read" in refusal(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("a: ${b}", "utf-8")
    assert "cannot be read" in refusal(folder).reason
    (folder / NEMO_CONFIG_FILE).write_text("- a", "utf-8")
    assert "is not a configuration" in refusal(folder).reason


def test_a_configuration_that_asks_for_the_environment_is_refused(folder: Path) -> None:
    config = folder / "model_config.yaml"
    config.write_text(config.read_text("utf-8") + "\nsecret: ${oc.env:HOME}\n", "utf-8")
    assert "refers to values outside the file" in refusal(folder).reason


def test_weights_that_are_a_program_are_not_run(folder: Path, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    data = io.BytesIO()
    torch.save({"encoder.x": Program()}, data)
    (folder / NEMO_WEIGHTS_FILE).write_bytes(data.getvalue())
    assert "contains more than weights" in refusal(folder).reason
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_told(file: Path) -> None:
    assert "cannot use the device 'abacus'" in refusal(file, "abacus").reason
    if not torch.cuda.is_available():
        assert "cannot use the device 'cuda'" in refusal(file, "cuda").reason


def test_no_call_changes_the_model(file: Path) -> None:
    from echoic.engines.parakeet.nemo_modules import load_nemo_model  # noqa: PLC0415  # it imports NeMo

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


def test_16_bits_say_nearly_the_same(file: Path) -> None:
    engine = ParakeetNemo(file, COVERED, TorchOptions(precision="bfloat16"))
    heard = [
        join_tokens(one.committed)
        for one in engine.decode([build_whole_window(audio) for audio, _ in read_recordings()])
    ]
    right = [text for _, text in read_recordings()]
    assert sum(one == two for one, two in zip(heard, right, strict=True)) >= len(right) - 3

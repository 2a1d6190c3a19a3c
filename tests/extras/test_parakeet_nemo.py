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

from echoic.engines.parakeet import Tuning
from echoic.engines.parakeet_nemo import ParakeetNemo, Torch
from echoic.engines.parakeet_nemo_files import CONFIG, WEIGHTS, look_at
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import nemo_file, recordings, text_of, whole

if TYPE_CHECKING:
    from pathlib import Path

COVERED = Tuning(left_context=30.0, right_context=30.0)
SAY_NOTHING = """
import logging, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
logging.basicConfig(level=logging.WARNING)
shown = warnings.showwarning
from echoic.engines.parakeet_nemo import ParakeetNemo
assert "torch" not in sys.modules
engine = ParakeetNemo(Path(sys.argv[1]))
assert warnings.showwarning is shown
assert "nemo" in sys.modules
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nemo_file(tmp_path_factory.mktemp("nemo"))


@pytest.fixture
def folder(file: Path, tmp_path: Path) -> Path:
    """The parts of the model, to be spoilt."""
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "parts", filter="data")
    return tmp_path / "parts"


def refusal(folder: Path, device: str = "auto") -> ModelUnavailable:
    with pytest.raises(ModelUnavailable) as refused:
        ParakeetNemo(folder, torch=Torch(device=device))
    return refused.value


def change(folder: Path, section: str, **values: object) -> None:
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config[section] |= values
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")


def test_loading_says_nothing_and_importing_alone_loads_nothing(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAY_NOTHING, file], capture_output=True, check=True, timeout=110
    )
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_parts_in_a_folder_say_the_same_as_the_file(file: Path, folder: Path) -> None:
    window = whole(recordings()[2][0])
    [packed] = ParakeetNemo(file, COVERED).decode([window])
    [unpacked] = ParakeetNemo(folder, COVERED).decode([window])
    assert packed.committed == unpacked.committed


def test_what_is_broken_is_told_with_the_next_step(folder: Path) -> None:
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[: len(weights) // 2])
    told = refusal(folder)
    assert "is damaged, or holds more than weights" in told.reason
    assert told.install == "echoic models get parakeet-tdt-0.6b-v3-nemo"
    (folder / WEIGHTS).write_bytes(weights)
    change(folder, "encoder", n_layers=3)
    assert "are not of one model" in refusal(folder).reason
    change(folder, "encoder", n_layers=4, self_attention_model="cubist")
    assert "cannot build this model's ConformerEncoder" in refusal(folder).reason
    (folder / CONFIG).write_text("a: [", "utf-8")
    assert "cannot be read" in refusal(folder).reason
    (folder / CONFIG).write_text("a: ${b}", "utf-8")
    assert "cannot be read" in refusal(folder).reason
    (folder / CONFIG).write_text("- a", "utf-8")
    assert "is not a configuration" in refusal(folder).reason


def test_a_configuration_that_asks_for_the_environment_is_refused(folder: Path) -> None:
    config = folder / "model_config.yaml"
    config.write_text(config.read_text("utf-8") + "\nsecret: ${oc.env:HOME}\n", "utf-8")
    assert "asks for more than its own values" in refusal(folder).reason


def test_weights_that_are_a_program_are_not_run(folder: Path, tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    data = io.BytesIO()
    torch.save({"encoder.x": Program()}, data)
    (folder / WEIGHTS).write_bytes(data.getvalue())
    assert "holds more than weights" in refusal(folder).reason
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_told(file: Path) -> None:
    assert "cannot compute on the device 'abacus'" in refusal(file, "abacus").reason
    if not torch.cuda.is_available():
        assert "cannot compute on the device 'cuda'" in refusal(file, "cuda").reason


def test_no_call_changes_the_model(file: Path) -> None:
    from echoic.engines.parakeet_nemo_modules import load  # noqa: PLC0415  # it imports NeMo

    engine = ParakeetNemo(file, COVERED)
    window = whole(recordings()[2][0])
    [before] = engine.decode([window])
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 47 * 16_000).astype(np.float32)
    engine.decode([whole(noise), *(whole(audio) for audio, _ in recordings())])
    with pytest.raises(ValueError, match="feature frames"):
        engine.decode([whole(np.tile(noise, 10))])
    assert engine.decode([window])[0].committed == before.committed
    parts = load(look_at(file), Torch()).parts
    assert not any(module.training for part in parts.values() for module in part.modules())
    assert not any(weight.requires_grad for part in parts.values() for weight in part.parameters())


def test_16_bits_say_nearly_the_same(file: Path) -> None:
    engine = ParakeetNemo(file, COVERED, Torch(precision="bfloat16"))
    heard = [text_of(one.committed) for one in engine.decode([whole(audio) for audio, _ in recordings()])]
    right = [text for _, text in recordings()]
    assert sum(one == two for one, two in zip(heard, right, strict=True)) >= len(right) - 3

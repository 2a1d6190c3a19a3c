from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from echoic.engines.parakeet import mlx_files
from echoic.engines.parakeet.mlx_files import (
    MLX_DOWNLOAD_COMMAND,
    MLX_INSTALL_COMMAND,
    check_mlx_libraries,
    inspect_mlx_folder,
)
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG: dict[str, object] = {
    "target": "nemo.collections.asr.models.rnnt_bpe_models.EncDecRNNTBPEModel",
    "model_defaults": {"tdt_durations": [0, 1, 2, 3, 4]},
    "preprocessor": {"features": 80, "sample_rate": 16_000, "normalize": "per_feature"},
    "encoder": {"_target_": "nemo.collections.asr.modules.ConformerEncoder", "subsampling_factor": 8},
    "decoder": {"_target_": "nemo.collections.asr.modules.RNNTDecoder", "vocab_size": 3},
    "joint": {
        "_target_": "nemo.collections.asr.modules.RNNTJoint",
        "num_classes": 3,
        "num_extra_outputs": 5,
        "vocabulary": ["<unk>", "▁the", "re"],
    },
    "decoding": {"durations": [0, 1, 2, 3, 4], "greedy": {"max_symbols": 7}},
}
HYBRID = {
    "target": "nemo.collections.asr.models.hybrid_rnnt_ctc_bpe_models.EncDecHybridRNNTCTCBPEModel",
    "aux_ctc": {
        "decoder": {
            "_target_": "nemo.collections.asr.modules.ConvASRDecoder",
            "num_classes": 3,
            "vocabulary": ["<unk>", "▁the", "re"],
        }
    },
}


def build_safetensors(size: int = 64) -> bytes:
    """One tensor in the format safetensors."""
    row = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    table = json.dumps({"__metadata__": {"format": "mlx"}, "weight": row}).encode()
    return len(table).to_bytes(8, "little") + table + bytes(size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / "model.safetensors").write_bytes(build_safetensors())
    return tmp_path


def test_a_folder_is_inspected(folder: Path) -> None:
    found = inspect_mlx_folder(folder)
    assert found.weights == folder / "model.safetensors"
    assert found.architecture.kind == "tdt"
    assert found.architecture.pieces == ("", " the", "re")
    assert found.architecture.durations == (0, 1, 2, 3, 4)
    assert found.architecture.bands == 80
    assert found.architecture.subsampling == 8
    assert found.architecture.max_symbols == 7


def test_the_requested_head_of_a_hybrid_is_used(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | HYBRID), "utf-8")
    assert inspect_mlx_folder(folder).architecture.kind == "tdt"
    assert inspect_mlx_folder(folder, "ctc").architecture.kind == "ctc"


def build_writer(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def build_config_writer(**changes: object) -> Callable[[Path], object]:
    return build_writer("config.json", json.dumps(CONFIG | changes).encode())


def build_remover(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: folder.rename(folder.with_name("elsewhere")), "There is no folder"),
        (build_remover("config.json"), r"config\.json is missing in"),
        (build_remover("model.safetensors"), r"model\.safetensors is missing in"),
        (build_writer("config.json", b"{"), "is not JSON"),
        (build_writer("config.json", b"[]"), "is not a JSON object"),
        (build_writer("config.json", b"{}"), "The model is a nothing of NeMo"),
        (
            build_config_writer(target="nemo.collections.asr.models.EncDecMultiTaskModel"),
            "The model is a EncDecMultiTaskModel",
        ),
        (build_config_writer(preprocessor={"features": 80, "normalize": "NA"}), "cache-aware streaming"),
        (build_config_writer(preprocessor={"features": "many"}), "which is not a whole number"),
        (
            build_config_writer(joint={"_target_": "RNNTJoint", "num_classes": 4, "vocabulary": ["one"]}),
            "does not contain the vocabulary",
        ),
        (build_config_writer(**HYBRID, model_defaults={}), "hybrid of RNNT and CTC"),
        (build_writer("model.safetensors", b""), "is empty"),
        (
            build_writer("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer",
        ),
        (build_writer("model.safetensors", b"PK\3\4" + bytes(200)), "is not a safetensors file"),
        (build_writer("model.safetensors", bytes(200)), "is not a safetensors file"),
        (build_writer("model.safetensors", build_safetensors()[:40]), "is not a safetensors file"),
        (
            build_writer("model.safetensors", build_safetensors()[:-10]),
            r"is cut off or damaged: it has \d+ of \d+ bytes",
        ),
        (
            build_writer("model.safetensors", build_safetensors() + b"more"),
            r"is cut off or damaged: it has \d+ of \d+ bytes",
        ),
    ],
)
def test_an_unusable_folder_names_the_cause_and_the_command(
    folder: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(folder)
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        inspect_mlx_folder(folder)
    assert refused.value.model == "parakeet-mlx"
    assert refused.value.install == MLX_DOWNLOAD_COMMAND


@pytest.mark.parametrize(
    ("system", "machine"),
    [("win32", "AMD64"), ("darwin", "x86_64"), ("linux", "armv7l"), ("freebsd", "amd64")],
)
def test_an_unsupported_machine_gets_no_install_command(system: str, machine: str) -> None:
    with pytest.raises(ModelUnavailable, match="does not support this machine") as refused:
        check_mlx_libraries(system, machine)
    assert refused.value.install is None


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        ({"mlx"}, "The package mlx is not installed"),
        ({"parakeet_mlx"}, "The package parakeet-mlx is not installed"),
        ({"mlx", "parakeet_mlx"}, "The packages mlx and parakeet-mlx are not installed"),
        (set(), "without its backend"),
    ],
)
def test_missing_packages_are_named_with_the_command(
    absent: set[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(mlx_files, "find_spec", lambda name: None if name in absent else spec)
    with pytest.raises(ModelUnavailable, match=reason) as refused:
        check_mlx_libraries("linux", "x86_64")
    assert refused.value.install == MLX_INSTALL_COMMAND


def test_mlx_with_a_backend_library_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libmlx.so").touch()
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(mlx_files, "find_spec", lambda _name: spec)
    check_mlx_libraries("linux", "aarch64")

"""The folder of a Parakeet for MLX: NeMo's configuration as ``config.json`` beside ``model.safetensors``.

The layout is that of parakeet-mlx and of the conversions published for it. Nothing here imports MLX.
Source: https://github.com/senstella/parakeet-mlx; https://github.com/huggingface/safetensors (format).
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from echoic.engines.model_files import find_defect
from echoic.engines.parakeet.nemo_files import DecodingHead, ParakeetArchitecture, read_architecture
from echoic.errors import ModelUnavailable

MLX_MODEL_ID = "parakeet-mlx"
#: The command that brings the libraries.
MLX_INSTALL_COMMAND = "pip install 'echoic[mlx]'"
#: The command that brings a model.
MLX_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-mlx"
MLX_CONFIG_FILE, MLX_WEIGHTS_FILE = "config.json", "model.safetensors"
#: Where MLX runs: on the GPU of Apple's processors, on Linux with its CPU (or CUDA) packages.
MLX_MACHINES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"darwin": ("arm64",), "linux": ("x86_64", "aarch64")}
)
#: Modules that must be there, and their packages.
MLX_PACKAGES: Mapping[str, str] = MappingProxyType({"mlx": "mlx", "parakeet_mlx": "parakeet-mlx"})
#: The length of a safetensors header: eight bytes, least significant first; 100 MB at most.
_LENGTH_BYTES, _MAX_HEADER_BYTES = 8, 100_000_000


@dataclass(frozen=True, slots=True)
class MlxModelFiles:
    """A folder that was looked through.

    Attributes:
        weights: The file of the weights.
        config: What stands in ``config.json``.
        architecture: What that says.
    """

    weights: Path
    config: dict[str, object]
    architecture: ParakeetArchitecture


def check_mlx_libraries(system: str = sys.platform, machine: str | None = None) -> None:
    """Return if MLX can be imported on this machine; nothing is imported.

    Args:
        system: As ``sys.platform`` names it.
        machine: As ``platform.machine`` names it.

    Raises:
        ModelUnavailable: It is not made for this machine, or is not installed.
    """
    machine = machine or platform.machine()
    if machine not in MLX_MACHINES.get(system, ()):
        raise build_mlx_error(
            "MLX is not for this machine: it runs on Macs with Apple's processors and on 64-bit Linux. "
            "The variant onnx runs everywhere.",
            None,
        )
    absent = [package for module, package in MLX_PACKAGES.items() if find_spec(module) is None]
    if absent:
        names = f"package {absent[0]} is" if len(absent) == 1 else f"packages {' and '.join(absent)} are"
        raise build_mlx_error(f"The {names} not installed.", MLX_INSTALL_COMMAND)
    if not _has_mlx_backend():
        raise build_mlx_error(
            "The package mlx is installed without the one that computes (mlx-cpu).", MLX_INSTALL_COMMAND
        )


def inspect_mlx_folder(folder: Path, head: DecodingHead | None = None) -> MlxModelFiles:
    """Return what is in a folder; no weights are read.

    Args:
        folder: In parakeet-mlx's layout.
        head: The head to use of a hybrid; None: the transducer, where there is one.

    Raises:
        ModelUnavailable: Something is missing or unusable: what, and what to do.
    """
    if not folder.is_dir():
        raise build_mlx_error(f"There is no folder {folder}.")
    file = _check_file(folder / MLX_CONFIG_FILE)
    try:
        config = json.loads(file.read_bytes())
    except ValueError:
        raise build_mlx_error(f"{file} is not JSON.") from None
    if not isinstance(config, dict):
        raise build_mlx_error(f"{file} is not a JSON object.")
    weights = _check_file(folder / MLX_WEIGHTS_FILE)
    _check_weights_length(weights)
    return MlxModelFiles(weights, config, _read_mlx_architecture(file, config, head))


def build_mlx_error(reason: str, install: str | None = MLX_DOWNLOAD_COMMAND) -> ModelUnavailable:
    """Return the refusal of the model with the command that brings what is missing."""
    return ModelUnavailable(MLX_MODEL_ID, reason, install)


def _has_mlx_backend() -> bool:
    """Return whether the library is there that comes in a package of its own for each kind of device."""
    spec = find_spec("mlx")
    places = (spec.submodule_search_locations or ()) if spec else ()
    return any(True for place in places for _ in (Path(place) / "lib").glob("libmlx.*"))


def _read_mlx_architecture(
    file: Path, config: Mapping[str, object], head: DecodingHead | None
) -> ParakeetArchitecture:
    try:
        found = read_architecture(config, head)
    except ModelUnavailable as refusal:
        raise build_mlx_error(f"{file} cannot be used. {refusal.reason}") from refusal
    defaults = config.get("model_defaults")
    durations = defaults.get("tdt_durations") if isinstance(defaults, dict) else None
    if "Hybrid" in str(config.get("target")) and durations is None:
        raise build_mlx_error(f"{file} describes a hybrid of RNNT and CTC, which parakeet-mlx does not know.")
    return found


def _check_file(file: Path) -> Path:
    """Return ``file`` if there is something in it."""
    if reason := find_defect(file):
        raise build_mlx_error(reason)
    return file


def _check_weights_length(file: Path) -> None:
    """Compare a safetensors file's length with what its header says."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        header = opened.read(min(length, size, _MAX_HEADER_BYTES))
    try:
        ends = [row["data_offsets"][1] for name, row in json.loads(header).items() if name != "__metadata__"]
        whole = _LENGTH_BYTES + length + max(ends)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise build_mlx_error(f"{file} is cut off or damaged, or is not a safetensors file.") from None
    if whole != size:
        raise build_mlx_error(f"{file} is cut off or damaged: it has {size} bytes of {whole}.")

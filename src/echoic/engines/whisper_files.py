"""Whisper's names, and the folder of a model in CTranslate2's layout: what it must hold.

The layout is that of the published conversions: ``model.bin``, ``config.json``, ``tokenizer.json``, a
vocabulary, and for models with other features than the first ones ``preprocessor_config.json``.
Source: https://github.com/SYSTRAN/faster-whisper, https://opennmt.net/CTranslate2/guides/transformers.html.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The id of the model that ``whisper`` means, whichever size that is.
NAME = "whisper"
#: The command that brings a model.
INSTALL = "echoic models get whisper-base"
WEIGHTS, CONFIG, TOKENIZER = "model.bin", "config.json", "tokenizer.json"
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
#: Other names of sizes.
ALIASES: Mapping[str, str] = MappingProxyType(
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
PREFERRED = ("base", "base.en", "small", "small.en", "tiny", "tiny.en")
_SPECIFICATION = b"WhisperSpec"
_LARGE_POINTER = b"version https://git-lfs"
_MOST_OF_A_NAME = 256


def size_name(model: str) -> str:
    """Return the id of the size that ``model`` means (``whisper-base``); other names as they are."""
    name = model.strip().lower()
    return ALIASES.get(name, name)


def folder_of(model: str, cache: Path) -> Path:
    """Return where the model that a setting names lies: a size among what was fetched, or a folder.

    Args:
        model: ``base``, ``whisper-base``, or a path.
        cache: The folder that models are fetched to.
    """
    if any(sign in model for sign in "/\\~") or Path(model).is_dir():
        return Path(model).expanduser()
    name = size_name(model)
    return cache / (name if name.startswith(NAME) else size_name(f"{NAME}-{name}"))


def find(cache: Path, names: Iterable[str]) -> Path | None:
    """Return the folder of the size that ``whisper`` means if none is named, or None.

    Args:
        cache: The folder that models are fetched to.
        names: The sizes there may be.
    """
    there = [name for name in names if (cache / name / WEIGHTS).is_file()]
    first = [name for size in PREFERRED if (name := f"{NAME}-{size}") in there]
    return next((cache / name for name in (*first, *there)), None)


def look_through(folder: Path, name: str = NAME) -> Path:
    """Return the folder if it holds a Whisper model; nothing is loaded.

    Args:
        folder: In CTranslate2's layout.
        name: The model asked for: who is told.

    Raises:
        ModelUnavailable: A file is missing, broken, or of another model: which, and what to do.
    """
    if not folder.is_dir():
        raise unusable(f"There is no folder {folder}.", name)
    for file in (CONFIG, TOKENIZER):
        _read(folder / file, name)
    if not any((folder / file).is_file() for file in VOCABULARIES):
        raise unusable(f"{folder} has no file {' or '.join(VOCABULARIES)}.", name)
    _check_weights(folder / WEIGHTS, name)
    return folder


def unusable(reason: str, name: str = NAME) -> ModelUnavailable:
    """Return the refusal of a model whose files cannot be used.

    Args:
        reason: A sentence.
        name: The model asked for.
    """
    return ModelUnavailable(name, reason, INSTALL if name == NAME else f"echoic models get {name}")


def _read(file: Path, name: str) -> None:
    try:
        json.loads(_present(file, name).read_bytes())
    except ValueError as error:
        raise unusable(f"{file} is broken: it is not JSON.", name) from error


def _present(file: Path, name: str) -> Path:
    if not file.is_file():
        raise unusable(f"{file.parent} has no file {file.name}.", name)
    return file


def _check_weights(file: Path, name: str) -> None:
    """Read the head of CTranslate2's format: its version, then the name of the architecture."""
    with _present(file, name).open("rb") as opened:
        head = opened.read(6 + _MOST_OF_A_NAME)
    if head.startswith(_LARGE_POINTER):
        raise unusable(f"{file} is a pointer of Git LFS, not the file itself.", name)
    length = struct.unpack("<IH", head[:6])[1] if len(head) >= 6 else 0  # noqa: PLR2004  # both numbers
    architecture = head[6 : 6 + length].rstrip(b"\0")
    if not 0 < length <= _MOST_OF_A_NAME or not architecture.isalnum():
        raise unusable(f"{file} is broken, or not of CTranslate2's format.", name)
    if architecture != _SPECIFICATION:
        raise unusable(
            f"{file} holds another architecture than Whisper: {architecture.decode('ascii')}.", name
        )

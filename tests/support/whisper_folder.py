"""A folder that looks like a Whisper model of CTranslate2's, without weights to speak of."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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

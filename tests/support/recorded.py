"""Recordings of what the scripted recogniser hears."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

from echoic.engines.scripted import draw_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_recording(file: Path, words: Sequence[str | tuple[str, float]]) -> Path:
    """Write a WAV file of 16 kHz and 16 bits in which so much is said and return it."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((draw_words(words) * 32768).astype("<i2").tobytes())
    return file

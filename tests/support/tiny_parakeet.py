"""The tiny Parakeet and its recordings."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoic.media import read_audio
from echoic.session.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from echoic.text.hypothesis import Token

FOLDER = Path(__file__).parent.parent / "fixtures" / "tiny-parakeet"


@cache
def recordings() -> tuple[tuple[NDArray[np.float32], str], ...]:
    """Return each recording at 16 kHz, read-only, and what is said in it."""
    rows = json.loads((FOLDER / "speech" / "texts.json").read_bytes())
    return tuple((_read(FOLDER / "speech" / row["audio"]), row["text"]) for row in rows)


def whole(audio: NDArray[np.float32]) -> Window:
    """Return all of ``audio`` as one window, the last."""
    return Window(audio, 16_000, 0.0, left=0, new=audio.size, right=0, last=True)


def text_of(tokens: tuple[Token, ...]) -> str:
    """Return what tokens spell."""
    return "".join(token.text for token in tokens).strip()


def _read(file: Path) -> NDArray[np.float32]:
    audio = np.concatenate(list(read_audio(file)))
    audio.flags.writeable = False
    return audio

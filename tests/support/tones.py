"""Voices made of tones, and a model that tells them apart by their spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import Sound, SpeakerWishes
from echoic.speakers.fbank import HOP, features

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from echoic.session.sound import Turn
    from echoic.speakers.base import Diarizer

RATE = 16_000
ANYONE = SpeakerWishes()
#: Hertz of each voice.
VOICES = (200.0, 450.0, 900.0, 1_700.0, 3_000.0, 5_000.0)


def tones(talk: Iterable[tuple[int | None, float]]) -> NDArray[np.float32]:
    """Return a talk: voices by their numbers, or None: a pause; each with its seconds."""
    parts = [_tone(voice, seconds) for voice, seconds in talk]
    return np.concatenate(parts).astype(np.float32)


def _tone(voice: int | None, seconds: float) -> NDArray[np.float64]:
    times = np.arange(round(seconds * RATE)) / RATE
    return 0 * times if voice is None else 0.3 * np.sin(2 * np.pi * VOICES[voice] * times)


def speech_in(audio: NDArray[np.float32]) -> tuple[tuple[int, int], ...]:
    """Return where there is anything, in steps of 32 ms."""
    loud = [at for at in range(0, audio.size, 512) if np.abs(audio[at : at + 512]).max() > 1 / 512]
    return tuple((at, min(at + 512, audio.size)) for at in loud)


class ToneSegmenter:
    """Hears which voices sound, three at most."""

    def voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which voices sound in each 10 ms: those that were heard first have the first numbers."""
        frames = -(-audio.size // HOP)
        padded = np.pad(audio, (0, frames * HOP - audio.size)).reshape(frames, HOP)
        times = np.arange(HOP) / RATE
        power = np.stack([np.abs(padded @ np.exp(2j * np.pi * hertz * times)) for hertz in VOICES], axis=1)
        sounding = power > 0.05 * HOP
        order = np.where(sounding.any(axis=0), sounding.argmax(axis=0), frames).argsort(kind="stable")
        first: NDArray[np.bool_] = sounding[:, order[:3]]
        return first


class ToneEmbedder:
    """Takes a window's spectrum for its voice."""

    def embed(self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Return the mean energies above the floor, of length 1."""
        energies = np.maximum(features(audio) - 12.0, 0.0)
        vectors = [energies[start // HOP : end // HOP - 2].mean(axis=0) + 1e-3 for start, end in windows]
        stacked = np.stack(vectors)
        unit: NDArray[np.float32] = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class Heard:
    turns: tuple[Turn, ...]
    carry: object

    @property
    def who(self) -> list[int]:
        """The speakers in order, each once for a turn that goes on in the next piece."""
        ids = [turn.speaker for turn in self.turns]
        return [one for place, one in enumerate(ids) if not place or ids[place - 1] != one]


def hear(
    diarizer: Diarizer,
    audio: NDArray[np.float32],
    *,
    piece: float = 1.5,
    wishes: SpeakerWishes = ANYONE,
    start: float = 0.0,
    carry: object = None,
) -> Heard:
    """Let a diarizer hear audio in pieces of so many seconds."""
    turns: list[Turn] = []
    size = round(piece * RATE)
    for at in range(0, audio.size, size):
        part = audio[at : at + size]
        last = at + size >= audio.size
        sound = Sound(part, start + at / RATE, speech_in(part), last=last, carry=carry, wishes=wishes)
        (voices,) = diarizer.listen([sound])
        turns += voices.turns
        carry = voices.carry
    return Heard(tuple(turns), carry)

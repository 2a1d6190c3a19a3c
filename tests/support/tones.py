"""Synthetic voices made of tones, and models that distinguish them by their spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echoic.diarization.fbank import HOP_SAMPLES, compute_fbank
from echoic.interfaces.diarizer import DiarizationChunk, SpeakerOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from echoic.interfaces.diarizer import Diarizer, SpeakerTurn

SAMPLE_RATE = 16_000
ANY_SPEAKERS = SpeakerOptions()
#: Hertz of each voice.
VOICE_HERTZ = (200.0, 450.0, 900.0, 1_700.0, 3_000.0, 5_000.0)


def build_tones(talk: Iterable[tuple[int | None, float]]) -> NDArray[np.float32]:
    """Build audio of voices by number, with their seconds; None: a pause."""
    parts = [_build_tone(voice, seconds) for voice, seconds in talk]
    return np.concatenate(parts).astype(np.float32)


def _build_tone(voice: int | None, seconds: float) -> NDArray[np.float64]:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return 0 * times if voice is None else 0.3 * np.sin(2 * np.pi * VOICE_HERTZ[voice] * times)


def find_speech(audio: NDArray[np.float32]) -> tuple[tuple[int, int], ...]:
    """Return the spans that are not silent, in steps of 32 ms."""
    loud = [at for at in range(0, audio.size, 512) if np.abs(audio[at : at + 512]).max() > 1 / 512]
    return tuple((at, min(at + 512, audio.size)) for at in loud)


class ToneSegmenter:
    """Segments at most three voices."""

    def find_voices(self, audio: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the active voices of each 10 ms, numbered in order of appearance."""
        frames = -(-audio.size // HOP_SAMPLES)
        padded = np.pad(audio, (0, frames * HOP_SAMPLES - audio.size)).reshape(frames, HOP_SAMPLES)
        times = np.arange(HOP_SAMPLES) / SAMPLE_RATE
        power = np.stack(
            [np.abs(padded @ np.exp(2j * np.pi * hertz * times)) for hertz in VOICE_HERTZ], axis=1
        )
        sounding = power > 0.05 * HOP_SAMPLES
        order = np.where(sounding.any(axis=0), sounding.argmax(axis=0), frames).argsort(kind="stable")
        first: NDArray[np.bool_] = sounding[:, order[:3]]
        return first


class ToneEmbedder:
    """Embeds a window by its spectrum."""

    def embed_windows(
        self, audio: NDArray[np.float32], windows: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Return the mean energies above the floor, of length 1."""
        energies = np.maximum(compute_fbank(audio) - 12.0, 0.0)
        vectors = [
            energies[start // HOP_SAMPLES : end // HOP_SAMPLES - 2].mean(axis=0) + 1e-3
            for start, end in windows
        ]
        stacked = np.stack(vectors)
        unit: NDArray[np.float32] = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class DiarizedAudio:
    turns: tuple[SpeakerTurn, ...]
    state: object

    @property
    def speaker_order(self) -> list[int]:
        """The speakers in order; turns that continue in the next chunk count once."""
        ids = [turn.speaker for turn in self.turns]
        return [one for place, one in enumerate(ids) if not place or ids[place - 1] != one]


def diarize_in_pieces(
    diarizer: Diarizer,
    audio: NDArray[np.float32],
    *,
    piece_seconds: float = 1.5,
    options: SpeakerOptions = ANY_SPEAKERS,
    start: float = 0.0,
    state: object = None,
) -> DiarizedAudio:
    """Diarize audio in chunks of this many seconds."""
    turns: list[SpeakerTurn] = []
    size = round(piece_seconds * SAMPLE_RATE)
    for at in range(0, audio.size, size):
        part = audio[at : at + size]
        last = at + size >= audio.size
        sound = DiarizationChunk(
            part, start + at / SAMPLE_RATE, find_speech(part), is_last=last, state=state, options=options
        )
        (voices,) = diarizer.diarize([sound])
        turns += voices.turns
        state = voices.state
    return DiarizedAudio(tuple(turns), state)

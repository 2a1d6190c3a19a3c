"""Draws training windows: sentences with pauses, cut anywhere, in noise.

The target of a window is the words that lie completely inside it, with their positions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.training.sentences import draw_sentence
from tools.training.voices import SAMPLE_RATE, Synthesiser, SynthesizedSentence, VoiceSettings, draw_voice

#: An edge cuts a word only after and before these parts of it.
_CLEAR_CUT = (0.12, 0.7)
_SILENT_WINDOWS = 0.05
_CUT_WINDOWS = 0.6


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word with its first sample and the sample after it in the window."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class TrainingWindow:
    """A window: ``audio`` (float32, 16 kHz, -1 to 1) and the words that lie in it."""

    audio: NDArray[np.float32]
    words: tuple[PlacedWord, ...]


def generate_windows(synthesiser: Synthesiser, seed: int) -> Iterator[TrainingWindow]:
    """Yield endless windows, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        yield draw_window(synthesiser, chance)


def draw_window(synthesiser: Synthesiser, chance: random.Random) -> TrainingWindow:
    """Return a window of 1 to 12 seconds, rarely longer."""
    if chance.random() < _SILENT_WINDOWS:
        quiet = np.zeros(round(SAMPLE_RATE * chance.uniform(0.5, 5)), np.float32)
        return _add_noise(TrainingWindow(quiet, ()), chance)
    if chance.random() < _CUT_WINDOWS:
        seconds = chance.uniform(1, 12 if chance.random() < 0.4 else 5)
        tape = draw_speech(synthesiser, chance, seconds + 3)
        return _add_noise(cut_window(tape, round(seconds * SAMPLE_RATE), chance), chance)
    seconds = chance.choice((0.0, 0.0, 0.0, 3.0, 6.0)) if chance.random() < 0.97 else chance.uniform(12, 25)
    return _add_noise(draw_speech(synthesiser, chance, seconds), chance)


def draw_speech(synthesiser: Synthesiser, chance: random.Random, seconds: float) -> TrainingWindow:
    """Return at least ``seconds`` of complete sentences by one or more voices."""
    parts = [_draw_pause(chance, 0.6)]
    words: list[PlacedWord] = []
    size = len(parts[0])
    manner: VoiceSettings = draw_voice(chance)
    while not words or size < seconds * SAMPLE_RATE:
        if chance.random() < 0.3:
            manner = draw_voice(chance)
        said = synthesiser.synthesise_words(draw_sentence(chance), manner)
        words += [
            PlacedWord(word, size + start, size + end)
            for word, start, end in zip(said.words, said.starts, said.ends, strict=True)
        ]
        loudness = np.float32(10 ** chance.uniform(-0.6, 0.1) / 32_768)
        keep = len(said.audio) if chance.random() < 0.5 else said.ends[-1] + 160
        parts += [said.audio[:keep].astype(np.float32) * loudness, _draw_pause(chance, 0.6)]
        if chance.random() < 0.15:
            parts.append(_draw_pause(chance, 3))
        size = sum(map(len, parts))
    return TrainingWindow(np.concatenate(parts), tuple(words))


def to_window(said: SynthesizedSentence, loudness: float = 1.0) -> TrainingWindow:
    """Return a sentence as a window of its own."""
    words = (PlacedWord(*word) for word in zip(said.words, said.starts, said.ends, strict=True))
    return TrainingWindow(said.audio.astype(np.float32) * np.float32(loudness / 32_768), tuple(words))


def _draw_pause(chance: random.Random, most: float) -> NDArray[np.float32]:
    return np.zeros(round(SAMPLE_RATE * chance.uniform(0, most)), np.float32)


def cut_window(tape: TrainingWindow, size: int, chance: random.Random) -> TrainingWindow:
    """Return ``size`` samples from a random position; the start of the first word may be clipped."""
    for _ in range(20):
        start = chance.randrange(max(1, len(tape.audio) - size))
        if _is_clear_cut(tape, start) and _is_clear_cut(tape, start + size):
            break
    end = start + size
    inside = tuple(
        PlacedWord(word.text, word.start - start, word.end - start)
        for word in tape.words
        if word.start + _CLEAR_CUT[0] * (word.end - word.start) >= start and word.end <= end
    )
    return TrainingWindow(tape.audio[start:end], inside)


def _is_clear_cut(tape: TrainingWindow, place: int) -> bool:
    first, last = _CLEAR_CUT
    for word in tape.words:
        if word.start < place < word.end:
            return first <= (place - word.start) / (word.end - word.start) <= last
    return True


def _add_noise(heard: TrainingWindow, chance: random.Random) -> TrainingWindow:
    audio = heard.audio
    if chance.random() < 0.75:
        noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(len(audio), np.float32)
        if chance.random() < 0.5:  # rumble: correlated samples
            noise = _smooth_noise(noise, chance.choice((8, 32, 128)))
        audio = audio + noise * np.float32(10 ** chance.uniform(-4.5, -1.9))
    return TrainingWindow(np.clip(audio, -1, 1), heard.words)


def _smooth_noise(noise: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    total = np.cumsum(noise, dtype=np.float64)
    smooth = np.empty_like(noise)
    smooth[:width] = noise[:width]
    smooth[width:] = (total[width:] - total[:-width]) / width**0.5
    return smooth

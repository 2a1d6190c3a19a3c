"""Windows of sound to learn from: sentences with pauses between them, cut anywhere, in noise.

What a window should say is the words that lie wholly inside it, each with the place where it sounds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.sentences import any_sentence
from training.voices import SAMPLE_RATE, any_manner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from training.voices import Manner, Spoken, Synthesiser

#: An edge cuts a word only after and before these parts of it: what is cut less is heard whole, more or less.
_CLEAR_CUT = (0.12, 0.7)
_SILENT_WINDOWS = 0.05
_CUT_WINDOWS = 0.6


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it sounds, in samples of the window."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A window: ``audio`` (float32, 16 kHz, -1 to 1) and the words that lie in it."""

    audio: NDArray[np.float32]
    words: tuple[Word, ...]


def endless(synthesiser: Synthesiser, seed: int) -> Iterator[Heard]:
    """Yield windows without end; the same for the same seed."""
    chance = random.Random(seed)
    while True:
        yield any_window(synthesiser, chance)


def any_window(synthesiser: Synthesiser, chance: random.Random) -> Heard:
    """Return a window of 1 to 12 seconds, seldom longer."""
    if chance.random() < _SILENT_WINDOWS:
        quiet = np.zeros(round(SAMPLE_RATE * chance.uniform(0.5, 5)), np.float32)
        return _disturbed(Heard(quiet, ()), chance)
    if chance.random() < _CUT_WINDOWS:
        seconds = chance.uniform(1, 12 if chance.random() < 0.4 else 5)
        tape = spoken_tape(synthesiser, chance, seconds + 3)
        return _disturbed(cut(tape, round(seconds * SAMPLE_RATE), chance), chance)
    seconds = chance.choice((0.0, 0.0, 0.0, 3.0, 6.0)) if chance.random() < 0.97 else chance.uniform(12, 25)
    return _disturbed(spoken_tape(synthesiser, chance, seconds), chance)


def spoken_tape(synthesiser: Synthesiser, chance: random.Random, seconds: float) -> Heard:
    """Return whole sentences by one or several speakers, ``seconds`` at least and one sentence at least."""
    parts = [_pause(chance, 0.6)]
    words: list[Word] = []
    size = len(parts[0])
    manner: Manner = any_manner(chance)
    while not words or size < seconds * SAMPLE_RATE:
        if chance.random() < 0.3:
            manner = any_manner(chance)
        said = synthesiser.say(any_sentence(chance), manner)
        words += [
            Word(word, size + start, size + end)
            for word, start, end in zip(said.words, said.starts, said.ends, strict=True)
        ]
        loudness = np.float32(10 ** chance.uniform(-0.6, 0.1) / 32_768)
        keep = len(said.audio) if chance.random() < 0.5 else said.ends[-1] + 160
        parts += [said.audio[:keep].astype(np.float32) * loudness, _pause(chance, 0.6)]
        if chance.random() < 0.15:
            parts.append(_pause(chance, 3))
        size = sum(map(len, parts))
    return Heard(np.concatenate(parts), tuple(words))


def placed(said: Spoken, loudness: float = 1.0) -> Heard:
    """Return a sentence as a window of its own."""
    words = (Word(*word) for word in zip(said.words, said.starts, said.ends, strict=True))
    return Heard(said.audio.astype(np.float32) * np.float32(loudness / 32_768), tuple(words))


def _pause(chance: random.Random, most: float) -> NDArray[np.float32]:
    return np.zeros(round(SAMPLE_RATE * chance.uniform(0, most)), np.float32)


def cut(tape: Heard, size: int, chance: random.Random) -> Heard:
    """Return ``size`` samples of a tape from anywhere, with the words in it: a beginning may be clipped."""
    for _ in range(20):
        start = chance.randrange(max(1, len(tape.audio) - size))
        if _is_clear(tape, start) and _is_clear(tape, start + size):
            break
    end = start + size
    inside = tuple(
        Word(word.text, word.start - start, word.end - start)
        for word in tape.words
        if word.start + _CLEAR_CUT[0] * (word.end - word.start) >= start and word.end <= end
    )
    return Heard(tape.audio[start:end], inside)


def _is_clear(tape: Heard, place: int) -> bool:
    first, last = _CLEAR_CUT
    for word in tape.words:
        if word.start < place < word.end:
            return first <= (place - word.start) / (word.end - word.start) <= last
    return True


def _disturbed(heard: Heard, chance: random.Random) -> Heard:
    audio = heard.audio
    if chance.random() < 0.75:
        noise = np.random.default_rng(chance.getrandbits(32)).standard_normal(len(audio), np.float32)
        if chance.random() < 0.5:  # rumble: each sample goes on from the one before
            noise = _rumble(noise, chance.choice((8, 32, 128)))
        audio = audio + noise * np.float32(10 ** chance.uniform(-4.5, -1.9))
    return Heard(np.clip(audio, -1, 1), heard.words)


def _rumble(noise: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    total = np.cumsum(noise, dtype=np.float64)
    smooth = np.empty_like(noise)
    smooth[:width] = noise[:width]
    smooth[width:] = (total[width:] - total[:-width]) / width**0.5
    return smooth

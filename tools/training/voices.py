"""Synthesizes speech with espeak-ng's library and locates each word."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray

#: Sample rate of the synthesized audio.
SAMPLE_RATE = 16_000
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-us-nyc")
VARIANTS = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5")
#: Constants of espeak-ng (speak_lib.h).
_SYNCHRONOUS, _UTF8, _BY_CHARACTER = 2, 1, 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_LIST_END, _WORD = 0, 1
#: Amplitude relative to the loudest sample below which audio after a word is silence.
_QUIET = 0.02


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True, slots=True)
class VoiceSettings:
    """Settings of the synthesizer for one sentence.

    Attributes:
        voice: espeak-ng's name of accent and variant.
        speed: Words a minute.
        pitch: 0 to 100.
        liveliness: How much the pitch moves, 0 to 100.
        loudness: 0 to 200.
        word_gap: The pause between words in 10 ms.
        throat: The audio is stretched by this factor, pitch and formants with it.
    """

    voice: str
    speed: int
    pitch: int
    liveliness: int
    loudness: int
    word_gap: int
    throat: float


@dataclass(frozen=True, slots=True, eq=False)
class SynthesizedSentence:
    """A synthesized sentence.

    Attributes:
        audio: int16, 16 kHz, mono.
        words: The words.
        starts: First sample of each word.
        ends: Sample after each word.
        manner: The voice.
    """

    audio: NDArray[np.int16]
    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    manner: VoiceSettings


def draw_voice(chance: random.Random) -> VoiceSettings:
    """Return a random voice with speed, pitch and loudness."""
    return VoiceSettings(
        voice=chance.choice(ACCENTS) + chance.choice(VARIANTS),
        speed=chance.randint(125, 205),
        pitch=chance.randint(25, 75),
        liveliness=chance.randint(30, 70),
        loudness=chance.randint(60, 160),
        word_gap=chance.choice((0, 0, 0, 1, 3, 8)),
        throat=chance.choice((0.9, 0.95, 1.0, 1.0, 1.05, 1.1)),
    )


class Synthesiser:
    """espeak-ng in this process; use only one, because the library has global state.

    Raises:
        OSError: espeak-ng is not installed (Debian: ``apt-get install espeak-ng``).
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        self._parts: list[NDArray[np.int16]] = []
        self._word_starts: list[tuple[int, int]] = []
        self._callback = _Callback(
            self._on_synthesis
        )  # kept, or it would be collected while the library holds it
        self._library.espeak_SetSynthCallback(self._callback)

    def _on_synthesis(
        self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: Sequence[_Event]
    ) -> int:
        if samples and count:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).astype(np.int16))
        place = 0
        while events[place].type != _LIST_END:
            event = events[place]
            if event.type == _WORD:
                self._word_starts.append((event.text_position - 1, event.sample))
            place += 1
        return 0

    def synthesise_words(self, words: Sequence[str], manner: VoiceSettings) -> SynthesizedSentence:
        """Synthesize ``words``."""
        text = " ".join(words)
        self._parts, self._word_starts = [], []
        self._library.espeak_SetVoiceByName(manner.voice.encode())
        for number, value in (
            (_RATE, manner.speed),
            (_PITCH, manner.pitch),
            (_RANGE, manner.liveliness),
            (_VOLUME, manner.loudness),
            (_WORD_GAP, manner.word_gap),
        ):
            self._library.espeak_SetParameter(number, value, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        raw = np.concatenate(self._parts)
        return self._locate_words(raw, words, manner)

    def _locate_words(
        self, raw: NDArray[np.int16], words: Sequence[str], manner: VoiceSettings
    ) -> SynthesizedSentence:
        target = SAMPLE_RATE * manner.throat
        audio = soxr.resample(raw, self._rate, target, quality="MQ")
        begins = {place: round(sample * target / self._rate) for place, sample in self._word_starts}
        groups: list[list[int]] = []  # [start, words]: espeak-ng says some words as one, as "to the"
        position = 0
        for word in words:
            if position in begins or not groups:
                groups.append([begins.get(position, 0), 0])
            groups[-1][1] += 1
            position += len(word) + 1
        level = np.abs(audio.astype(np.int32))
        loud = level > _QUIET * level.max()
        starts, ends = [], []
        for (start, count), after in zip(
            groups, [*(place for place, _ in groups[1:]), len(audio)], strict=True
        ):
            starts += [start] * count
            ends += [start + _find_extent(loud[start:after])] * count
        return SynthesizedSentence(audio, tuple(words), tuple(starts), tuple(ends), manner)


def _find_extent(loud: NDArray[np.bool_]) -> int:
    found = np.flatnonzero(loud)
    return int(found[-1]) + 1 if len(found) else len(loud)

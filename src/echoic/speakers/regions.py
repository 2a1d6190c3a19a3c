"""The sound that is looked at: the new piece with what was heard before it, and where there is speech."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import SOUND_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from echoic.session.sound import Sound

#: Seconds by which a piece may begin beside the end of the one before it: places are rounded to other rates.
_ROUNDING = 0.005
_FULL_SCALE = 32_768.0
#: A time from where to where, in seconds.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Past:
    """The last seconds of what was heard.

    Attributes:
        audio: int16, shape ``(n,)``, mono, 16 kHz; read-only.
        end: Seconds on the session's clock at which it ends.
        known: The same, up to which it was looked at; what follows is part of the next piece.
        spoken: Where there is speech in it; in order.
    """

    audio: NDArray[np.int16]
    end: float
    known: float
    spoken: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """A piece of sound with what was heard just before it.

    Attributes:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        origin: Seconds on the session's clock of its first sample.
        start: Where what is new begins: the piece, or those before it that were too short.
        spoken: Where there is speech, as it was told; in order.
    """

    audio: NDArray[np.float32]
    origin: float
    start: float
    spoken: tuple[Span, ...]

    @property
    def end(self) -> float:
        """Where the new piece ends."""
        return self.origin + self.audio.size / SOUND_RATE

    @property
    def has_news(self) -> bool:
        """Whether there is speech in the new piece."""
        return any(end > self.start for _, end in self.spoken)

    def within(self, seconds: float) -> Scene:
        """Return its last seconds, or more if the new piece is longer than that."""
        keep = round(max(seconds, self.end - self.start) * SOUND_RATE)
        audio = self.audio[-keep:] if keep else self.audio
        return replace(self, audio=audio, origin=self.end - audio.size / SOUND_RATE)

    def after(self, seconds: float, *, waits: bool = False) -> Past:
        """Return its last seconds for the next piece, of which the new piece is part if it ``waits``."""
        kept = self.audio[-round(seconds * SOUND_RATE) :] * _FULL_SCALE
        audio = np.clip(np.rint(kept), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        audio.setflags(write=False)
        origin = self.end - audio.size / SOUND_RATE
        spoken = tuple((max(begin, origin), end) for begin, end in self.spoken if end > origin)
        return Past(audio, self.end, self.start if waits else self.end, spoken)


def scene_of(sound: Sound, before: Past | None) -> Scene:
    """Return the piece together with what went before, if that ended where it begins."""
    spoken = tuple(
        (sound.start + begin / SOUND_RATE, sound.start + end / SOUND_RATE) for begin, end in sound.speech
    )
    if before is None or abs(before.end - sound.start) > _ROUNDING:
        return Scene(sound.audio, sound.start, sound.start, spoken)
    earlier = before.audio.astype(np.float32) / np.float32(_FULL_SCALE)
    audio = np.concatenate((earlier, sound.audio))
    origin = sound.start - earlier.size / SOUND_RATE
    return Scene(audio, origin, sound.start - (before.end - before.known), (*before.spoken, *spoken))


def bits(sound: Sound, longest: float) -> Iterator[Sound]:
    """Yield a piece of sound in bits of equal length, at least one."""
    size = sound.audio.size
    count = max(1, -(-size // round(longest * SOUND_RATE)))
    edges = [size * place // count for place in range(count + 1)]
    for first, last in pairwise(edges):
        speech = tuple(
            (max(begin, first) - first, min(end, last) - first)
            for begin, end in sound.speech
            if begin < last and end > first
        )
        start = sound.start + first / SOUND_RATE
        done = sound.last and last == size
        yield replace(sound, audio=sound.audio[first:last], start=start, speech=speech, last=done)

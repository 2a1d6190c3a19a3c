"""Where somebody speaks, and the windows in which voices are looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import SOUND_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from echoic.session.sound import Sound

#: Seconds by which a piece may begin beside the end of the one before it: places are rounded to other rates.
_ROUNDING = 0.005
#: Seconds of the shortest window that can be looked at.
_LEAST = 0.25
#: A time from where to where, in seconds.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How speech becomes windows, in seconds; measured on recordings, docs/decisions/0020.

    Attributes:
        padding: Speech begins so much before the detector says so, and ends so much later.
        pause: Shorter silences belong to whoever speaks around them.
        length: Of a window.
        hop: From one window to the next.
        shortest: A shorter window says too little of a voice to be remembered.
        slot: The grid on which turns begin and end.
    """

    padding: float = 0.1
    pause: float = 0.8
    length: float = 1.2
    hop: float = 0.4
    shortest: float = 0.7
    slot: float = 0.2


@dataclass(frozen=True, slots=True)
class Scene:
    """A piece of sound with what was heard just before it.

    Attributes:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        origin: Seconds on the session's clock of its first sample.
        start: Where the new piece begins.
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

    def after(self, seconds: float) -> Scene:
        """Return what the next piece needs of it: its last seconds."""
        keep = round(seconds * SOUND_RATE)
        audio = self.audio[-keep:].copy()
        audio.setflags(write=False)
        origin = self.end - audio.size / SOUND_RATE
        spoken = tuple((max(begin, origin), end) for begin, end in self.spoken if end > origin)
        return Scene(audio, origin, self.end, spoken)


@dataclass(frozen=True, slots=True)
class Look:
    """A window; all in seconds on the session's clock.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        new: The part of the new piece that it is there for.
        begin: From where on it knows better than the window before it: nearer to its middle.
    """

    start: float
    end: float
    new: Span
    begin: float


def scene_of(sound: Sound, before: Scene | None) -> Scene:
    """Return the piece together with what went before, if that ended where it begins."""
    spoken = tuple(
        (sound.start + begin / SOUND_RATE, sound.start + end / SOUND_RATE) for begin, end in sound.speech
    )
    if before is None or abs(before.end - sound.start) > _ROUNDING:
        return Scene(sound.audio, sound.start, sound.start, spoken)
    audio = np.concatenate((before.audio, sound.audio))
    return Scene(audio, before.origin, sound.start, (*before.spoken, *spoken))


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


def joined(spans: Iterable[Span], pause: float) -> list[Span]:
    """Return the spans in order, those with less than a pause between them as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] < pause:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def looks(scene: Scene, rules: WindowRules) -> list[list[Look]]:
    """Return the windows for the new piece, those of each stretch of speech together; none if it is tiny."""
    if scene.audio.size < _LEAST * SOUND_RATE:
        return []
    padded = (
        (max(scene.origin, begin - rules.padding), min(scene.end, end + rules.padding))
        for begin, end in scene.spoken
    )
    regions = [(begin, end) for begin, end in joined(padded, rules.pause) if end > scene.start]
    return [[*_looks(region, scene, rules)] for region in regions]


def _looks(region: Span, scene: Scene, rules: WindowRules) -> Iterator[Look]:
    begin, end = region
    at = max(begin, scene.start)
    while end - at > 1 / SOUND_RATE:
        until = end if end - at < 1.5 * rules.hop else at + rules.hop
        first = max(begin, min(until - rules.length, until - rules.hop))
        last = min(end, max(until, first + rules.length))
        first, last = _audible(first, last, scene)
        whole = begin > scene.origin and first <= begin  # none looks further back
        known = begin if whole else max(begin, (first + last - rules.hop) / 2)
        yield Look(first, last, (at, until), min(at, known))
        at = until


def _audible(first: float, last: float, scene: Scene) -> Span:
    """Return the window, lengthened where it is too short to be looked at at all."""
    first = max(scene.origin, min(first, last - _LEAST))
    return first, min(scene.end, max(last, first + _LEAST))

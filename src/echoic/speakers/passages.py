"""What each voice of a scene says, and the windows in which it is looked at.

A scene is divided into frames of 10 ms, those of the features. In each frame any number of voices speak;
their numbers mean something within the scene only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import SOUND_RATE
from echoic.speakers.fbank import HOP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from echoic.speakers.regions import Scene
    from echoic.speakers.segment import Segmenter

#: Frames in a second.
FRAMES = SOUND_RATE // HOP
#: Frames of the shortest window that can be looked at.
_LEAST = 25


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How speech becomes windows, in seconds; measured on recordings, docs/decisions/0020.

    Attributes:
        padding: Speech begins so much before the detector says so, and ends so much later.
        pause: Shorter silences belong to whoever speaks around them.
        length: Of a window.
        hop: From one window to the next.
        shortest: A shorter window says too little of a voice to be remembered.
    """

    padding: float = 0.1
    pause: float = 0.8
    length: float = 1.2
    hop: float = 0.4
    shortest: float = 0.7


@dataclass(frozen=True, slots=True)
class Passage:
    """What one voice says without a longer pause, as far as some of it is new; frames count from the scene's.

    Attributes:
        voice: Whose it is.
        frames: The new frames in which it speaks, in order.
        alone: The frames, old and new, in which it alone does; at least as many as a window must have.
        known: How many of those are not new.
    """

    voice: int
    frames: NDArray[np.intp]
    alone: NDArray[np.intp]
    known: int

    def windows(self, rules: WindowRules) -> Iterator[tuple[int, int, int]]:
        """Yield windows over the frames in ``alone``: from, to, and from which on it says anything new."""
        length, hop = round(FRAMES * rules.length), round(FRAMES * rules.hop)
        at, size = self.known, len(self.alone)
        while at < size:
            until = size if size - at < 1.5 * hop else at + hop
            first = max(0, min(until - length, until - hop, size - _LEAST))
            yield first, min(size, max(until, first + length)), at
            at = until


def voices_in(scene: Scene, segmenter: Segmenter | None, padding: float) -> NDArray[np.bool_]:
    """Return who speaks in each frame, shape ``(frames, voices)``; all that is speech is somebody's.

    Args:
        scene: The sound.
        segmenter: Tells voices apart; None: all speech is one voice's.
        padding: As in ``WindowRules``.
    """
    spoken = np.zeros(-(-scene.audio.size // HOP), np.bool_)
    for begin, end in scene.spoken:
        first = round((begin - padding - scene.origin) * FRAMES)
        spoken[max(0, first) : max(0, round((end + padding - scene.origin) * FRAMES))] = True
    if segmenter is None:
        return spoken[:, np.newaxis]
    return _claimed(segmenter.voices(scene.audio), spoken)


def _claimed(voices: NDArray[np.bool_], spoken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voices with the speech that is none's given to the nearest."""
    active = voices.copy()
    somebody = np.flatnonzero(active.any(axis=1))
    nobody = np.flatnonzero(spoken & ~active.any(axis=1))
    if not len(somebody):
        active[nobody, 0] = True
        return active
    after = np.minimum(np.searchsorted(somebody, nobody), len(somebody) - 1)
    before = np.maximum(after - 1, 0)
    near = np.where(nobody - somebody[before] <= np.abs(somebody[after] - nobody), before, after)
    active[nobody, active[somebody[near]].argmax(axis=1)] = True
    return active


def passages(active: NDArray[np.bool_], start: int, pause: float) -> list[Passage]:
    """Return what is said from the frame ``start`` on, with what each voice said before without a pause.

    Args:
        active: Who speaks in each frame.
        start: The first new frame.
        pause: Seconds of silence that end a passage.
    """
    alone = active & (active.sum(axis=1, keepdims=True) == 1)
    found = []
    for voice in range(active.shape[1]):
        for begin, end in runs(active[:, voice], round(pause * FRAMES)):
            frames = begin + np.flatnonzero(active[begin:end, voice])
            if len(new := frames[frames >= start]):
                own = _long_enough(begin + np.flatnonzero(alone[begin:end, voice]), len(active))
                found.append(Passage(voice, new, own, int(np.searchsorted(own, start))))
    return found


def _long_enough(own: NDArray[np.intp], frames: int) -> NDArray[np.intp]:
    """Return the frames, with those around them where they are too few for a window."""
    if not 0 < len(own) < _LEAST <= frames:
        return own if frames >= _LEAST else own[:0]
    first = int(np.clip(own[-1] + 1 - _LEAST, 0, frames - _LEAST))
    return np.arange(first, first + _LEAST)


def runs(active: NDArray[np.bool_], pause: int = 1) -> list[tuple[int, int]]:
    """Return from where to where it is active, with less than so many frames of pause as one."""
    edges = np.diff(np.concatenate(([0], active.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    apart = begins[1:] - ends[:-1] >= pause
    first, last = np.concatenate(([True], apart)), np.concatenate((apart, [True]))
    if not len(begins):
        return []
    return list(zip(begins[first].tolist(), ends[last].tolist(), strict=True))

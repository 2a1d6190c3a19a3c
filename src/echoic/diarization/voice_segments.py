"""What each voice of a scene says, and the windows in which it is looked at.

A scene is divided into frames of 10 ms, those of the features. In each frame any number of voices speak;
their numbers mean something within the scene only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.fbank import HOP_SAMPLES
from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE

if TYPE_CHECKING:
    from echoic.diarization.segmentation import Segmenter

#: Frames in a second.
FRAMES_PER_SECOND = DIARIZATION_SAMPLE_RATE // HOP_SAMPLES
#: Frames of the shortest window that can be looked at.
_MIN_WINDOW_FRAMES = 25


@dataclass(frozen=True, slots=True)
class WindowingConfig:
    """How speech becomes windows, in seconds; measured on recordings, docs/decisions/0020.

    Attributes:
        padding: Speech begins so much before the detector says so, and ends so much later.
        max_pause: Shorter silences belong to whoever speaks around them.
        window_length: Of a window.
        hop: From one window to the next.
        min_length: A shorter window says too little of a voice to be remembered.
    """

    padding: float = 0.1
    max_pause: float = 0.8
    window_length: float = 1.2
    hop: float = 0.4
    min_length: float = 0.7


@dataclass(frozen=True, slots=True)
class VoiceSegment:
    """What one voice says without a longer pause, as far as some of it is new; frames count from the scene's.

    Attributes:
        voice: Whose it is.
        new_frames: The new frames in which it speaks, in order.
        solo_frames: The frames, old and new, in which it alone does; at least as many as a window must have.
        old_solo_count: How many of those are not new.
    """

    voice: int
    new_frames: NDArray[np.intp]
    solo_frames: NDArray[np.intp]
    old_solo_count: int

    def split_windows(self, config: WindowingConfig) -> Iterator[tuple[int, int, int]]:
        """Yield windows over the frames in ``solo_frames``: from, to, and from which on it says anything new."""
        length, hop = round(FRAMES_PER_SECOND * config.window_length), round(FRAMES_PER_SECOND * config.hop)
        at, size = self.old_solo_count, len(self.solo_frames)
        while at < size:
            until = size if size - at < 1.5 * hop else at + hop
            first = max(0, min(until - length, until - hop, size - _MIN_WINDOW_FRAMES))
            yield first, min(size, max(until, first + length)), at
            at = until


def find_active_voices(
    analysis_window: AnalysisWindow, segmenter: Segmenter | None, padding: float
) -> NDArray[np.bool_]:
    """Return who speaks in each frame, shape ``(frames, voices)``; all that is speech is somebody's.

    Args:
        analysis_window: The sound.
        segmenter: Tells voices apart; None: all speech is one voice's.
        padding: As in ``WindowingConfig``.
    """
    spoken = np.zeros(-(-analysis_window.audio.size // HOP_SAMPLES), np.bool_)
    for begin, end in analysis_window.speech_spans:
        first = round((begin - padding - analysis_window.origin) * FRAMES_PER_SECOND)
        spoken[
            max(0, first) : max(0, round((end + padding - analysis_window.origin) * FRAMES_PER_SECOND))
        ] = True
    if segmenter is None:
        return spoken[:, np.newaxis]
    return _assign_unclaimed_speech(segmenter.find_voices(analysis_window.audio), spoken)


def _assign_unclaimed_speech(voices: NDArray[np.bool_], is_speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voices with the speech that is none's given to the nearest."""
    active = voices.copy()
    somebody = np.flatnonzero(active.any(axis=1))
    nobody = np.flatnonzero(is_speech & ~active.any(axis=1))
    if not len(somebody):
        active[nobody, 0] = True
        return active
    after = np.minimum(np.searchsorted(somebody, nobody), len(somebody) - 1)
    before = np.maximum(after - 1, 0)
    near = np.where(nobody - somebody[before] <= np.abs(somebody[after] - nobody), before, after)
    active[nobody, active[somebody[near]].argmax(axis=1)] = True
    return active


def find_voice_segments(active: NDArray[np.bool_], first_frame: int, max_pause: float) -> list[VoiceSegment]:
    """Return what is said from the frame ``first_frame`` on, with what each voice said before without a pause.

    Args:
        active: Who speaks in each frame.
        first_frame: The first new frame.
        max_pause: Seconds of silence that end a passage.
    """
    alone = active & (active.sum(axis=1, keepdims=True) == 1)
    found = []
    for voice in range(active.shape[1]):
        for begin, end in find_runs(active[:, voice], round(max_pause * FRAMES_PER_SECOND)):
            frames = begin + np.flatnonzero(active[begin:end, voice])
            if len(new := frames[frames >= first_frame]):
                own = _widen_to_window(begin + np.flatnonzero(alone[begin:end, voice]), len(active))
                found.append(VoiceSegment(voice, new, own, int(np.searchsorted(own, first_frame))))
    return found


def _widen_to_window(solo_frames: NDArray[np.intp], frame_count: int) -> NDArray[np.intp]:
    """Return the frames, with those around them where they are too few for a window."""
    if not 0 < len(solo_frames) < _MIN_WINDOW_FRAMES <= frame_count:
        return solo_frames if frame_count >= _MIN_WINDOW_FRAMES else solo_frames[:0]
    first = int(np.clip(solo_frames[-1] + 1 - _MIN_WINDOW_FRAMES, 0, frame_count - _MIN_WINDOW_FRAMES))
    return np.arange(first, first + _MIN_WINDOW_FRAMES)


def find_runs(active: NDArray[np.bool_], max_pause: int = 1) -> list[tuple[int, int]]:
    """Return from where to where it is active, with less than so many frames of pause as one."""
    edges = np.diff(np.concatenate(([0], active.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    apart = begins[1:] - ends[:-1] >= max_pause
    first, last = np.concatenate(([True], apart)), np.concatenate((apart, [True]))
    if not len(begins):
        return []
    return list(zip(begins[first].tolist(), ends[last].tolist(), strict=True))

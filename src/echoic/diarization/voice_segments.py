"""Splits the voices of an analysis window into segments and windows for the embedding model.

An analysis window is divided into frames of 10 ms, as the features are. In each frame any number of voices is
active. Voice numbers are only valid within one analysis window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow
from echoic.diarization.fbank import HOP_SAMPLES
from echoic.diarization.segmentation import Segmenter
from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE

FRAMES_PER_SECOND = DIARIZATION_SAMPLE_RATE // HOP_SAMPLES
#: Shortest window of the embedding model, in frames.
_MIN_WINDOW_FRAMES = 25


@dataclass(frozen=True, slots=True)
class WindowingConfig:
    """How speech is split into windows, in seconds; tuned on recordings (docs/decisions/0020)."""

    #: Added before and after the speech that the detector finds.
    padding: float = 0.1
    #: Shorter silences are part of a turn.
    max_pause: float = 0.8
    #: Length of a window.
    window_length: float = 1.2
    #: From one window to the next.
    hop: float = 0.4
    #: Shorter windows form no group of their own.
    min_length: float = 0.7


@dataclass(frozen=True, slots=True)
class VoiceSegment:
    """Speech of one voice without a longer pause, some of it new; frames count within the analysis window."""

    #: Number of the voice.
    voice: int
    #: New frames in which it is active, in order.
    new_frames: NDArray[np.intp]
    #: Frames, old and new, in which it alone is active; at least the shortest window.
    solo_frames: NDArray[np.intp]
    #: How many of ``solo_frames`` are old.
    old_solo_count: int

    def split_windows(self, config: WindowingConfig) -> Iterator[tuple[int, int, int]]:
        """Yield windows as indices into ``solo_frames``: first, end, and the first new one."""
        length, hop = round(FRAMES_PER_SECOND * config.window_length), round(FRAMES_PER_SECOND * config.hop)
        new_start, size = self.old_solo_count, len(self.solo_frames)
        while new_start < size:
            until = size if size - new_start < 1.5 * hop else new_start + hop
            first = max(0, min(until - length, until - hop, size - _MIN_WINDOW_FRAMES))
            yield first, min(size, max(until, first + length)), new_start
            new_start = until


def find_active_voices(
    analysis_window: AnalysisWindow, segmenter: Segmenter | None, padding: float
) -> NDArray[np.bool_]:
    """Return the active voices of each frame: bool, shape ``(frames, voices)``.

    Every frame of speech has an active voice.

    Args:
        analysis_window: The audio.
        segmenter: Separates voices. If None, all speech is one voice.
        padding: As in ``WindowingConfig``.
    """
    is_speech = np.zeros(-(-analysis_window.audio.size // HOP_SAMPLES), np.bool_)
    for begin, end in analysis_window.speech_spans:
        first = round((begin - padding - analysis_window.origin) * FRAMES_PER_SECOND)
        is_speech[
            max(0, first) : max(0, round((end + padding - analysis_window.origin) * FRAMES_PER_SECOND))
        ] = True
    if segmenter is None:
        return is_speech[:, np.newaxis]
    return _assign_unclaimed_speech(segmenter.find_voices(analysis_window.audio), is_speech)


def _assign_unclaimed_speech(voices: NDArray[np.bool_], is_speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voices after giving speech without a voice to the nearest one."""
    active = voices.copy()
    claimed = np.flatnonzero(active.any(axis=1))
    unclaimed = np.flatnonzero(is_speech & ~active.any(axis=1))
    if not len(claimed):
        active[unclaimed, 0] = True
        return active
    after = np.minimum(np.searchsorted(claimed, unclaimed), len(claimed) - 1)
    before = np.maximum(after - 1, 0)
    near = np.where(unclaimed - claimed[before] <= np.abs(claimed[after] - unclaimed), before, after)
    active[unclaimed, active[claimed[near]].argmax(axis=1)] = True
    return active


def find_voice_segments(active: NDArray[np.bool_], first_frame: int, max_pause: float) -> list[VoiceSegment]:
    """Return the segments that reach into the new frames, with their speech before these.

    Args:
        active: Whether each voice is active: bool, shape ``(frames, voices)``.
        first_frame: The first new frame.
        max_pause: Seconds of silence that end a segment.
    """
    solo = active & (active.sum(axis=1, keepdims=True) == 1)
    segments = []
    for voice in range(active.shape[1]):
        for begin, end in find_runs(active[:, voice], round(max_pause * FRAMES_PER_SECOND)):
            frames = begin + np.flatnonzero(active[begin:end, voice])
            if len(new := frames[frames >= first_frame]):
                frames = _widen_to_window(begin + np.flatnonzero(solo[begin:end, voice]), len(active))
                segments.append(VoiceSegment(voice, new, frames, int(np.searchsorted(frames, first_frame))))
    return segments


def _widen_to_window(solo_frames: NDArray[np.intp], frame_count: int) -> NDArray[np.intp]:
    """Return the frames, extended by neighbours if they are too few for a window."""
    if not 0 < len(solo_frames) < _MIN_WINDOW_FRAMES <= frame_count:
        return solo_frames if frame_count >= _MIN_WINDOW_FRAMES else solo_frames[:0]
    first = int(np.clip(solo_frames[-1] + 1 - _MIN_WINDOW_FRAMES, 0, frame_count - _MIN_WINDOW_FRAMES))
    return np.arange(first, first + _MIN_WINDOW_FRAMES)


def find_runs(active: NDArray[np.bool_], max_pause: int = 1) -> list[tuple[int, int]]:
    """Return start and end of each run of active frames; pauses below ``max_pause`` frames do not end one."""
    edges = np.diff(np.concatenate(([0], active.astype(np.int8), [0])))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    apart = begins[1:] - ends[:-1] >= max_pause
    first, last = np.concatenate(([True], apart)), np.concatenate((apart, [True]))
    if not len(begins):
        return []
    return list(zip(begins[first].tolist(), ends[last].tolist(), strict=True))

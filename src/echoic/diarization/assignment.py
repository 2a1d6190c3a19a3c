"""Assigns speakers to the voices of the newest frames, and groups of embeddings to spans of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow, TimeSpan
from echoic.diarization.speaker_ids import SpeakerClusteringConfig
from echoic.diarization.state import UNKNOWN, DiarizerState, EmbeddingGroups, GroupIntervals
from echoic.diarization.turns import find_best_path
from echoic.diarization.voice_segments import FRAMES_PER_SECOND, VoiceSegment, find_runs

#: Frames of a slot; a voice may change its speaker between slots.
_DECISION_FRAMES = 20
#: Penalty for assigning the speaker of another active voice; higher than any similarity.
_OVERLAP_PENALTY = 5.0
#: Two voices may share a speaker in at most this part of a slot, because one turn may begin just before
#: another ends.
_MIN_OVERLAP_SHARE = 0.3
#: Share of the window before the new audio whose groups are placed again with what followed.
_REVISED_SHARE = 0.4
#: Frames added to the distance of a window that is too short to be reliable.
_SHORT_WINDOW_PENALTY = 1_000


@dataclass(frozen=True, slots=True)
class EmbeddedSegment:
    """A voice segment with the embeddings of its windows."""

    segment: VoiceSegment
    #: As ``VoiceSegment.split_windows`` yields them.
    windows: Sequence[tuple[int, int, int]]
    #: Unit vectors: float32, shape ``(windows, size)``.
    embeddings: NDArray[np.float32]

    def count_new_seconds(self, index: int) -> float:
        """Return the seconds of speech that a window adds to the one before it."""
        later = [window[2] for window in self.windows[index + 1 :]] or [len(self.segment.solo_frames)]
        return (later[0] - self.windows[index][2]) / FRAMES_PER_SECOND

    def get_window_span(self, window: tuple[int, int, int], origin: float) -> TimeSpan:
        """Return start and end of a window in seconds; the analysis window begins at ``origin``."""
        first, last, _ = window
        frames = self.segment.solo_frames
        return origin + int(frames[first]) / FRAMES_PER_SECOND, origin + (
            int(frames[last - 1]) + 1
        ) / FRAMES_PER_SECOND

    def score_speakers(
        self, centroids: NDArray[np.float32], slots: Sequence[NDArray[np.intp]]
    ) -> NDArray[np.float32]:
        """Return the similarity of each slot to each speaker: float32, shape ``(slots, speakers)``.

        Windows nearer to the slot get a higher weight.
        """
        if not self.windows:
            return np.zeros((len(slots), len(centroids)), np.float32)
        edges = np.array([self.get_window_span(window, 0.0) for window in self.windows]) * FRAMES_PER_SECOND
        sizes = np.array([last - first for first, last, _ in self.windows])
        places = np.array([slot.mean() for slot in slots])[:, np.newaxis]
        weights = np.maximum(1 - np.abs(places - edges.mean(axis=1)) / (sizes / 2), 0) + 1e-3
        shares = weights / weights.sum(axis=1, keepdims=True)
        scores: NDArray[np.float32] = shares @ (self.embeddings @ centroids.T)
        return scores


def assign_frame_speakers(
    groups: EmbeddingGroups,
    segments: Sequence[EmbeddedSegment],
    active: NDArray[np.bool_],
    history: Sequence[tuple[slice, int]],
    config: SpeakerClusteringConfig,
) -> NDArray[np.intp]:
    """Return the speaker of each voice in the new frames; two voices at once get different speakers.

    Args:
        groups: Groups of embeddings with their speakers.
        segments: The new voice segments.
        active: Whether each voice is active: bool, shape ``(frames, voices)``.
        history: Spans of frames before the new ones, with their speakers.
        config: Penalty for a change of speakers.

    Returns:
        Speaker ids, shape ``(frames, voices)``; ``UNKNOWN`` where unknown and in old frames.
    """
    speakers = np.full(active.shape, UNKNOWN)
    ids = np.unique(groups.speakers[groups.speakers != UNKNOWN])
    centroids = np.stack([groups.sums[groups.speakers == speaker].sum(axis=0) for speaker in ids])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    for embedded in sorted(
        segments, key=lambda embedded: embedded.segment.old_solo_count - len(embedded.segment.solo_frames)
    ):
        frames, voice = embedded.segment.new_frames, embedded.segment.voice
        previous = _find_previous_speaker(active[:, voice], history)
        if previous is None and embedded.windows and history:
            previous = history[-1][1]
        if previous is None and not embedded.windows:
            continue
        slots = np.array_split(frames, max(1, round(len(frames) / _DECISION_FRAMES)))
        taken = _OVERLAP_PENALTY * np.array(
            [[(speakers[slot] == speaker).any(axis=1).mean() for speaker in ids] for slot in slots]
        )
        scores = embedded.score_speakers(centroids, slots) - np.where(
            taken > _OVERLAP_PENALTY * _MIN_OVERLAP_SHARE, taken, 0.0
        )
        path = find_best_path(
            scores, config.switch_penalty, None if previous is None else int(np.searchsorted(ids, previous))
        )
        for slot, index, score in zip(slots, path, scores, strict=True):
            if score[index] > -1:
                speakers[slot, voice] = ids[index]
    return speakers


def _find_previous_speaker(active: NDArray[np.bool_], history: Sequence[tuple[slice, int]]) -> int | None:
    """Return the last speaker of a voice, or None if unknown."""
    return next((speaker for where, speaker in reversed(history) if active[where].any()), None)


def find_window_voices(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the dominant voice of each recent window, or ``UNKNOWN``.

    Args:
        state: Has the recent windows.
        analysis_window: The last seconds.
        active: Whether each voice is active in each of its frames.
    """
    windows = state.recent_windows
    return _find_dominant_voices(
        _to_frames(windows.starts, analysis_window, active),
        _to_frames(windows.ends, analysis_window, active),
        active,
    )


def place_groups(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_], min_seconds: float
) -> GroupIntervals:
    """Return the intervals of all groups; each frame belongs to its voice's window with the nearest middle.

    Args:
        state: Has the recent windows.
        analysis_window: The last seconds.
        active: Whether each voice is active in each of its frames.
        min_seconds: Shorter windows count only where the voice has no longer ones.
    """
    since = max(
        analysis_window.origin,
        analysis_window.new_start - _REVISED_SHARE * (analysis_window.end - analysis_window.origin),
    )
    spans, groups = [], []
    for group, begin, end in _iterate_group_frames(state, analysis_window, active, min_seconds):
        start = max(since, analysis_window.origin + begin / FRAMES_PER_SECOND)
        if (until := min(analysis_window.end, analysis_window.origin + end / FRAMES_PER_SECOND)) > start:
            spans.append((start, until))
            groups.append(group)
    return state.intervals.replace_since(since, spans, groups)


def _iterate_group_frames(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_], min_seconds: float
) -> Iterator[tuple[int, int, int]]:
    """Yield each group with the first and last frame of a run."""
    windows = state.recent_windows
    starts, ends = (
        (times - analysis_window.origin) * FRAMES_PER_SECOND for times in (windows.starts, windows.ends)
    )
    window_voices = find_window_voices(state, analysis_window, active)
    penalties = np.where(ends - starts < min_seconds * FRAMES_PER_SECOND, _SHORT_WINDOW_PENALTY, 0)
    for voice in range(active.shape[1]):
        own, frames = np.flatnonzero(window_voices == voice), np.flatnonzero(active[:, voice])
        if len(own) and len(frames):
            distances = np.abs(frames[:, np.newaxis] - (starts + ends)[own] / 2) + penalties[own]
            groups = np.full(len(active), UNKNOWN)
            groups[frames] = windows.groups[own[distances.argmin(axis=1)]]
            for group in np.unique(groups[frames]).tolist():
                yield from ((group, *span) for span in find_runs(groups == group))
        elif (
            len(frames)
            and (previous := _find_previous_group(state.intervals, analysis_window, active[:, voice]))
            is not None
        ):
            yield from ((previous, *span) for span in find_runs(active[:, voice]))


def _find_previous_group(
    intervals: GroupIntervals, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> int | None:
    """Return the group that covers most of a voice's earlier frames, or None if there is none."""
    late = intervals.ends > analysis_window.origin
    first, last = (
        _to_frames(intervals.starts[late], analysis_window, active),
        _to_frames(intervals.ends[late], analysis_window, active),
    )
    sums = np.concatenate(([0], active.cumsum()))
    shared = np.bincount(intervals.groups[late], sums[last] - sums[first]) if late.any() else np.zeros(1)
    return int(shared.argmax()) if shared.max() > 0 else None


def _to_frames(
    times: NDArray[np.float64], analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the frames of the analysis window at these times."""
    return np.clip(np.rint((times - analysis_window.origin) * FRAMES_PER_SECOND), 0, len(active)).astype(
        np.intp
    )


def _find_dominant_voices(
    first: NDArray[np.intp], last: NDArray[np.intp], active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice that has most solo frames in each window, or ``UNKNOWN``."""
    alone = active & (active.sum(axis=1, keepdims=True) == 1)
    sums = np.concatenate((np.zeros((1, active.shape[1]), np.intp), alone.cumsum(axis=0)))
    shares = sums[last] - sums[first]
    voices: NDArray[np.intp] = np.where(shares.any(axis=1), shares.argmax(axis=1), UNKNOWN)
    return voices

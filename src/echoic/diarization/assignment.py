"""Who says the new passages: by their windows' vectors, by who the voice was before, and never two as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import AnalysisWindow, TimeSpan
from echoic.diarization.identity import SpeakerClusteringConfig
from echoic.diarization.state import UNKNOWN, DiarizerState, EmbeddingGroups, GroupIntervals
from echoic.diarization.turns import find_best_path
from echoic.diarization.voice_segments import FRAMES_PER_SECOND, VoiceSegment, find_runs

#: A frame of a voice that is nobody's.
NO_SPEAKER: Final = -1
#: Frames of a slot, the grid on which a voice may change its speaker.
_DECISION_FRAMES = 20
#: What it costs to be somebody who speaks at the same time as another voice: more than any likeness.
_OVERLAP_PENALTY = 5.0


@dataclass(frozen=True, slots=True)
class EmbeddedSegment:
    """A passage with what its windows sound like.

    Attributes:
        segment: The passage.
        windows: As ``Passage.windows`` yields them.
        embeddings: One of length 1 for each: float32, shape ``(windows, size)``.
    """

    segment: VoiceSegment
    windows: Sequence[tuple[int, int, int]]
    embeddings: NDArray[np.float32]

    def count_new_seconds(self, index: int) -> float:
        """Return how much a window says that is new."""
        later = [window[2] for window in self.windows[index + 1 :]] or [len(self.segment.solo_frames)]
        return (later[0] - self.windows[index][2]) / FRAMES_PER_SECOND

    def get_window_span(self, window: tuple[int, int, int], origin: float) -> TimeSpan:
        """Return where a window begins and ends, in seconds; the scene begins at ``origin``."""
        first, last, _ = window
        alone = self.segment.solo_frames
        return origin + int(alone[first]) / FRAMES_PER_SECOND, origin + (
            int(alone[last - 1]) + 1
        ) / FRAMES_PER_SECOND

    def score_speakers(
        self, centroids: NDArray[np.float32], slots: Sequence[NDArray[np.intp]]
    ) -> NDArray[np.float32]:
        """Return how much each slot sounds like each speaker: by its windows, the nearest the most."""
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
    """Return who each voice is in the new frames.

    Args:
        groups: With their speakers.
        segments: The new passages.
        active: Who speaks in each frame, shape ``(frames, voices)``.
        history: Frames before the new ones, and who was heard there.
        config: What a change of speakers costs.

    Returns:
        Shape ``(frames, voices)``; ``NO_SPEAKER`` where nobody knows, and in the frames that are not new.
    """
    who = np.full(active.shape, NO_SPEAKER)
    ids = np.unique(groups.speakers[groups.speakers != UNKNOWN])
    voices = np.stack([groups.sums[groups.speakers == speaker].sum(axis=0) for speaker in ids])
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    for one in sorted(segments, key=lambda one: one.segment.old_solo_count - len(one.segment.solo_frames)):
        frames, voice = one.segment.new_frames, one.segment.voice
        before = _find_previous_speaker(active[:, voice], history)
        if before is None and one.windows and history:
            before = history[-1][1]
        if before is None and not one.windows:
            continue
        slots = np.array_split(frames, max(1, round(len(frames) / _DECISION_FRAMES)))
        taken = _OVERLAP_PENALTY * np.array(
            [[(who[slot] == speaker).any(axis=1).mean() for speaker in ids] for slot in slots]
        )
        scores = one.score_speakers(voices, slots) - np.where(
            taken > _OVERLAP_PENALTY * _MIN_OVERLAP_SHARE, taken, 0.0
        )
        path = find_best_path(
            scores, config.switch_penalty, None if before is None else int(np.searchsorted(ids, before))
        )
        for slot, place, score in zip(slots, path, scores, strict=True):
            if score[place] > -1:
                who[slot, voice] = ids[place]
    return who


#: The share of a slot in which two may be one: turns touch.
_MIN_OVERLAP_SHARE = 0.3


def _find_previous_speaker(active: NDArray[np.bool_], history: Sequence[tuple[slice, int]]) -> int | None:
    """Return who a voice was when it was last heard, or None: nobody knows."""
    return next((speaker for where, speaker in reversed(history) if active[where].any()), None)


#: The share of a scene before its new piece whose turns are told better by what followed them.
_REVISED_SHARE = 0.4
#: Frames by which a window that is too short to say much of a voice counts as farther away.
_SHORT_WINDOW_PENALTY = 1_000


def find_window_voices(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice of the scene that each of the memory's views mostly is, or ``NOBODY``.

    Args:
        state: With the windows of the last seconds.
        analysis_window: The last seconds.
        active: Who speaks in each frame of it.
    """
    views = state.recent_windows
    return _find_dominant_voices(
        _to_frames(views.starts, analysis_window, active),
        _to_frames(views.ends, analysis_window, active),
        active,
    )


def place_groups(
    state: DiarizerState, analysis_window: AnalysisWindow, active: NDArray[np.bool_], min_seconds: float
) -> GroupIntervals:
    """Return when each group was heard: a frame of a voice is of that voice's window whose middle is nearest.

    Args:
        state: With the windows of the last seconds.
        analysis_window: The last seconds.
        active: Who speaks in each frame of it.
        min_seconds: Seconds below which a window is taken only where the voice has no longer one.
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
    """Yield the groups with the frames from where to where they are heard."""
    views = state.recent_windows
    starts, ends = ((at - analysis_window.origin) * FRAMES_PER_SECOND for at in (views.starts, views.ends))
    whose = find_window_voices(state, analysis_window, active)
    doubt = np.where(ends - starts < min_seconds * FRAMES_PER_SECOND, _SHORT_WINDOW_PENALTY, 0)
    for voice in range(active.shape[1]):
        mine, frames = np.flatnonzero(whose == voice), np.flatnonzero(active[:, voice])
        if len(mine) and len(frames):
            away = np.abs(frames[:, np.newaxis] - (starts + ends)[mine] / 2) + doubt[mine]
            groups = np.full(len(active), UNKNOWN)
            groups[frames] = views.groups[mine[away.argmin(axis=1)]]
            for group in np.unique(groups[frames]).tolist():
                yield from ((group, *span) for span in find_runs(groups == group))
        elif (
            len(frames)
            and (held := _find_previous_group(state.intervals, analysis_window, active[:, voice])) is not None
        ):
            yield from ((held, *span) for span in find_runs(active[:, voice]))


def _find_previous_group(
    intervals: GroupIntervals, analysis_window: AnalysisWindow, active: NDArray[np.bool_]
) -> int | None:
    """Return the group that most of a voice was before, or None: it was not heard."""
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
    """Return the frames of the scene at these times."""
    return np.clip(np.rint((times - analysis_window.origin) * FRAMES_PER_SECOND), 0, len(active)).astype(
        np.intp
    )


def _find_dominant_voices(
    first: NDArray[np.intp], last: NDArray[np.intp], active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice that each window mostly is now, by its frames from where to where."""
    alone = active & (active.sum(axis=1, keepdims=True) == 1)
    sums = np.concatenate((np.zeros((1, active.shape[1]), np.intp), alone.cumsum(axis=0)))
    shares = sums[last] - sums[first]
    whose: NDArray[np.intp] = np.where(shares.any(axis=1), shares.argmax(axis=1), UNKNOWN)
    return whose

"""When each group was heard, told anew for the last seconds by what followed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoic.speakers.memory import UNKNOWN
from echoic.speakers.passages import FRAMES_PER_SECOND, find_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from echoic.speakers.memory import DiarizerState, GroupIntervals
    from echoic.speakers.regions import AnalysisWindow

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

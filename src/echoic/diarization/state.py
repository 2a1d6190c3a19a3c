"""The state of a diarizer for one session: groups of embeddings and their intervals, both bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import RecentAudio, TimeSpan
from echoic.diarization.clustering import compute_similarity, find_closest_pair
from echoic.interfaces.diarizer import SpeakerOptions

#: Most groups; beyond that, the two most similar ones are merged.
MAX_GROUPS = 128
#: Most intervals; beyond that, the shortest one is merged with the one before it.
MAX_INTERVALS = 4096
#: Speaker of a group without a speaker yet.
UNKNOWN = -1
#: Gap between two intervals of a group that still counts as none, in seconds.
_MERGE_GAP_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class EmbeddingGroups:
    """Groups of similar windows; the arrays are read-only."""

    #: Sums of the windows' unit vectors, weighted by seconds: float32, shape ``(groups, size)``.
    sums: NDArray[np.float32]
    #: Seconds of new speech in each group: float32, shape ``(groups,)``.
    seconds: NDArray[np.float32]
    #: Speaker of each group, or ``UNKNOWN``: shape ``(groups,)``.
    speakers: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.seconds)

    def with_windows(self, embeddings: NDArray[np.float32], seconds: NDArray[np.float32]) -> EmbeddingGroups:
        """Add windows, each as a group of its own without a speaker."""
        weighted = embeddings * seconds[:, np.newaxis]
        return _build_groups(
            np.concatenate((self.sums.reshape(-1, embeddings.shape[1]), weighted)),
            np.concatenate((self.seconds, seconds)),
            np.concatenate((self.speakers, np.full(len(seconds), UNKNOWN))),
        )

    def with_speakers(self, speakers: NDArray[np.intp]) -> EmbeddingGroups:
        """Replace the speakers."""
        return _build_groups(self.sums, self.seconds, speakers)

    def merge_pair(self, kept: int, merged: int) -> EmbeddingGroups:
        """Merge the group ``merged`` into the group ``kept``."""
        sums, seconds = self.sums.copy(), self.seconds.copy()
        sums[kept] += sums[merged]
        seconds[kept] += seconds[merged]
        rest = np.arange(len(self)) != merged
        return _build_groups(sums[rest], seconds[rest], self.speakers[rest])


@dataclass(frozen=True, slots=True)
class GroupIntervals:
    """When each group spoke, in order; the arrays are read-only, shape ``(intervals,)``."""

    #: Seconds on the session's clock, float64.
    starts: NDArray[np.float64]
    #: Seconds on the session's clock, float64.
    ends: NDArray[np.float64]
    #: Index of the group.
    groups: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)

    def replace_since(self, since: float, spans: Sequence[TimeSpan], groups: Sequence[int]) -> GroupIntervals:
        """Keep the intervals before ``since`` and replace those after it; the new ones may be unsorted."""
        before = self.starts < since
        starts, ends, kept_groups = self.starts[before], self.ends[before], self.groups[before]
        order = sorted(range(len(spans)), key=lambda index: spans[index])
        return _build_intervals(
            np.concatenate((starts, [spans[index][0] for index in order])),
            np.concatenate((np.minimum(ends, since), [spans[index][1] for index in order])),
            np.concatenate((kept_groups, np.array([groups[index] for index in order], np.intp))),
        )

    def merge_pair(self, kept: int, merged: int) -> GroupIntervals:
        """Renumber the groups after ``EmbeddingGroups.merge_pair``."""
        return _build_intervals(self.starts, self.ends, _renumber_groups(self.groups, kept, merged))

    def merge_shortest(self) -> GroupIntervals:
        """Merge the shortest interval with the one before it."""
        shortest = int((self.ends - self.starts)[1:].argmin()) + 1
        ends, rest = self.ends.copy(), np.arange(len(self)) != shortest
        ends[shortest - 1] = max(ends[shortest - 1], ends[shortest])
        return _build_intervals(self.starts[rest], ends[rest], self.groups[rest])


@dataclass(frozen=True, slots=True)
class RecentWindows:
    """The windows of the last seconds; the arrays are read-only, shape ``(windows,)``."""

    #: Seconds on the session's clock, float64.
    starts: NDArray[np.float64]
    #: Seconds on the session's clock, float64.
    ends: NDArray[np.float64]
    #: Index of the group that the window belongs to.
    groups: NDArray[np.intp]

    def with_windows(
        self, since: float, spans: Sequence[TimeSpan], groups: NDArray[np.intp]
    ) -> RecentWindows:
        """Keep the windows that end after ``since`` and add more."""
        kept = self.ends > since
        edges = np.array(spans, np.float64).reshape(-1, 2)
        starts = np.concatenate((self.starts[kept], edges[:, 0]))
        ends = np.concatenate((self.ends[kept], edges[:, 1]))
        return _build_recent_windows(starts, ends, np.concatenate((self.groups[kept], groups)))

    def merge_pair(self, kept: int, merged: int) -> RecentWindows:
        """Renumber the groups after ``EmbeddingGroups.merge_pair``."""
        return _build_recent_windows(self.starts, self.ends, _renumber_groups(self.groups, kept, merged))


@dataclass(frozen=True, slots=True)
class DiarizerState:
    """The state of one session; immutable."""

    #: Groups of embeddings.
    groups: EmbeddingGroups
    #: When the groups spoke; intervals of two speakers may overlap.
    intervals: GroupIntervals
    #: The windows of the last seconds.
    recent_windows: RecentWindows
    #: The audio of the last seconds, context for the next chunk.
    recent_audio: RecentAudio | None = None
    #: Number of speakers with an id.
    speaker_count: int = 0
    #: The client's options, such as the number of speakers.
    options: SpeakerOptions = field(default_factory=SpeakerOptions)

    @property
    def size_bytes(self) -> int:
        """Size of the arrays in bytes."""
        groups = (self.groups.sums, self.groups.seconds, self.groups.speakers)
        times = [
            array
            for intervals in (self.intervals, self.recent_windows)
            for array in (intervals.starts, intervals.ends, intervals.groups)
        ]
        past = self.recent_audio.audio.nbytes if self.recent_audio else 0
        return sum(array.nbytes for array in (*groups, *times)) + past

    def trim(self) -> DiarizerState:
        """Merge groups and intervals until neither exceeds its limit."""
        groups, intervals, windows = self.groups, self.intervals, self.recent_windows
        while len(groups) > MAX_GROUPS:
            pair = find_closest_pair(compute_similarity(groups.sums, groups.seconds), groups.speakers)
            groups, intervals = groups.merge_pair(*pair), intervals.merge_pair(*pair)
            windows = windows.merge_pair(*pair)
        return replace(self, groups=groups, intervals=trim_intervals(intervals), recent_windows=windows)


def build_empty_state() -> DiarizerState:
    """Return the state of a new session."""
    floats, indices = np.zeros(0, np.float32), np.zeros(0, np.intp)
    groups = _build_groups(floats.reshape(0, 0), floats, indices)
    windows = _build_recent_windows(np.zeros(0), np.zeros(0), indices)
    return DiarizerState(groups, build_empty_intervals(), windows)


def build_empty_intervals() -> GroupIntervals:
    """Return no intervals."""
    return _build_intervals(np.zeros(0), np.zeros(0), np.zeros(0, np.intp))


def trim_intervals(intervals: GroupIntervals) -> GroupIntervals:
    """Merge the shortest intervals until there are at most ``MAX_INTERVALS``."""
    while len(intervals) > MAX_INTERVALS:
        intervals = intervals.merge_shortest()
    return intervals


def _build_groups(
    sums: NDArray[np.float32], seconds: NDArray[np.float32], speakers: NDArray[np.intp]
) -> EmbeddingGroups:
    for array in (sums, seconds, speakers):
        array.setflags(write=False)
    return EmbeddingGroups(sums, seconds, speakers)


def _build_intervals(
    starts: NDArray[np.float64], ends: NDArray[np.float64], groups: NDArray[np.intp]
) -> GroupIntervals:
    """Return read-only intervals; adjoining ones of the same group are joined."""
    if len(starts) > 1:
        is_continued = (groups[1:] == groups[:-1]) & (starts[1:] - ends[:-1] < _MERGE_GAP_SECONDS)
        first = np.concatenate(([True], ~is_continued))
        starts, ends, groups = starts[first], np.maximum.reduceat(ends, np.flatnonzero(first)), groups[first]
    for array in (starts, ends, groups):
        array.setflags(write=False)
    return GroupIntervals(starts, ends, groups)


def _build_recent_windows(
    starts: NDArray[np.float64], ends: NDArray[np.float64], groups: NDArray[np.intp]
) -> RecentWindows:
    for array in (starts, ends, groups):
        array.setflags(write=False)
    return RecentWindows(starts, ends, groups)


def _renumber_groups(groups: NDArray[np.intp], kept: int, merged: int) -> NDArray[np.intp]:
    """Return indices of groups after the group ``merged`` was merged into ``kept``."""
    moved = np.where(groups == merged, kept, groups)
    return moved - (moved > merged)

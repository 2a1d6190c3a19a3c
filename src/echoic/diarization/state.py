"""What a diarizer remembers of a session: groups of windows and when they were heard, both bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import RecentAudio, TimeSpan
from echoic.diarization.clustering import compute_similarity, find_closest_pair
from echoic.interfaces.diarizer import SpeakerOptions

#: Groups that are remembered; beyond that the two that are most alike become one.
MAX_GROUPS = 128
#: Stretches of time that are remembered; beyond that the shortest goes to the one before it.
MAX_INTERVALS = 4096
#: A group of which it is not yet known who it is.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class EmbeddingGroups:
    """Windows that sound alike, as far as they are remembered; the arrays are read-only.

    Attributes:
        sums: The sums of their unit vectors, each times its seconds: float32, shape ``(groups, size)``.
        seconds: What they say anew: float32, shape ``(groups,)``.
        speakers: Who it is, or ``UNKNOWN``: shape ``(groups,)``.
    """

    sums: NDArray[np.float32]
    seconds: NDArray[np.float32]
    speakers: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.seconds)

    def with_windows(self, embeddings: NDArray[np.float32], seconds: NDArray[np.float32]) -> EmbeddingGroups:
        """Return them with more windows, each a group of its own and nobody's yet."""
        weighted = embeddings * seconds[:, np.newaxis]
        return _build_groups(
            np.concatenate((self.sums.reshape(-1, embeddings.shape[1]), weighted)),
            np.concatenate((self.seconds, seconds)),
            np.concatenate((self.speakers, np.full(len(seconds), UNKNOWN))),
        )

    def with_speakers(self, speakers: NDArray[np.intp]) -> EmbeddingGroups:
        """Return them with other speakers."""
        return _build_groups(self.sums, self.seconds, speakers)

    def merge_pair(self, kept: int, merged: int) -> EmbeddingGroups:
        """Return them with the group ``merged`` put to the group ``kept``."""
        sums, seconds = self.sums.copy(), self.seconds.copy()
        sums[kept] += sums[merged]
        seconds[kept] += seconds[merged]
        rest = np.arange(len(self)) != merged
        return _build_groups(sums[rest], seconds[rest], self.speakers[rest])


@dataclass(frozen=True, slots=True)
class GroupIntervals:
    """When each group was heard, in order; the arrays are read-only, shape ``(stretches,)``.

    Attributes:
        starts: Seconds on the session's clock, float64.
        ends: The same.
        groups: Which group, by its place.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    groups: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)

    def replace_since(self, since: float, spans: Sequence[TimeSpan], groups: Sequence[int]) -> GroupIntervals:
        """Return what they say of the time before ``since``, and others, in any order, for the time after."""
        before = self.starts < since
        starts, ends, places = self.starts[before], self.ends[before], self.groups[before]
        order = sorted(range(len(spans)), key=lambda place: spans[place])
        return _build_intervals(
            np.concatenate((starts, [spans[place][0] for place in order])),
            np.concatenate((np.minimum(ends, since), [spans[place][1] for place in order])),
            np.concatenate((places, np.array([groups[place] for place in order], np.intp))),
        )

    def merge_pair(self, kept: int, merged: int) -> GroupIntervals:
        """Return them after ``Groups.without``."""
        return _build_intervals(self.starts, self.ends, _renumber_groups(self.groups, kept, merged))

    def merge_shortest(self) -> GroupIntervals:
        """Return them with the shortest given to the one before it."""
        at = int((self.ends - self.starts)[1:].argmin()) + 1
        ends, rest = self.ends.copy(), np.arange(len(self)) != at
        ends[at - 1] = max(ends[at - 1], ends[at])
        return _build_intervals(self.starts[rest], ends[rest], self.groups[rest])


@dataclass(frozen=True, slots=True)
class RecentWindows:
    """The windows of the last seconds; the arrays are read-only, shape ``(windows,)``.

    Attributes:
        starts: Seconds on the session's clock, float64.
        ends: The same.
        groups: The group that each is in, by its place.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    groups: NDArray[np.intp]

    def with_windows(
        self, since: float, spans: Sequence[TimeSpan], groups: NDArray[np.intp]
    ) -> RecentWindows:
        """Return those that end after ``since``, and more."""
        kept = self.ends > since
        edges = np.array(spans, np.float64).reshape(-1, 2)
        starts = np.concatenate((self.starts[kept], edges[:, 0]))
        ends = np.concatenate((self.ends[kept], edges[:, 1]))
        return _build_recent_windows(starts, ends, np.concatenate((self.groups[kept], groups)))

    def merge_pair(self, kept: int, merged: int) -> RecentWindows:
        """Return them after ``Groups.without``."""
        return _build_recent_windows(self.starts, self.ends, _renumber_groups(self.groups, kept, merged))


@dataclass(frozen=True, slots=True)
class DiarizerState:
    """What is known of a session; nothing in it changes.

    Attributes:
        groups: What was heard.
        intervals: When; those of two who speak at once overlap.
        recent_windows: The windows of the last seconds.
        recent_audio: The last seconds themselves, for windows that reach back.
        speaker_count: Speakers that got an id.
        options: What the client says of the speakers.
    """

    groups: EmbeddingGroups
    intervals: GroupIntervals
    recent_windows: RecentWindows
    recent_audio: RecentAudio | None = None
    speaker_count: int = 0
    options: SpeakerOptions = field(default_factory=SpeakerOptions)

    @property
    def size_bytes(self) -> int:
        """Bytes of its arrays."""
        groups = (self.groups.sums, self.groups.seconds, self.groups.speakers)
        times = [
            array
            for one in (self.intervals, self.recent_windows)
            for array in (one.starts, one.ends, one.groups)
        ]
        past = self.recent_audio.audio.nbytes if self.recent_audio else 0
        return sum(array.nbytes for array in (*groups, *times)) + past

    def trim(self) -> DiarizerState:
        """Return it with no more groups and stretches than may be."""
        groups, stretches, views = self.groups, self.intervals, self.recent_windows
        while len(groups) > MAX_GROUPS:
            pair = find_closest_pair(compute_similarity(groups.sums, groups.seconds), groups.speakers)
            groups, stretches = groups.merge_pair(*pair), stretches.merge_pair(*pair)
            views = views.merge_pair(*pair)
        return replace(self, groups=groups, intervals=trim_intervals(stretches), recent_windows=views)


def build_empty_state() -> DiarizerState:
    """Return what is known before anything is heard."""
    none = np.zeros(0, np.float32)
    nobody = np.zeros(0, np.intp)
    views = _build_recent_windows(np.zeros(0), np.zeros(0), nobody)
    return DiarizerState(_build_groups(none.reshape(0, 0), none, nobody), build_empty_intervals(), views)


def build_empty_intervals() -> GroupIntervals:
    """Return no stretches."""
    return _build_intervals(np.zeros(0), np.zeros(0), np.zeros(0, np.intp))


def trim_intervals(intervals: GroupIntervals) -> GroupIntervals:
    """Return no more stretches than are remembered."""
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
    """Return stretches, those that go on in the same group as one."""
    if len(starts) > 1:
        goes_on = (groups[1:] == groups[:-1]) & (starts[1:] - ends[:-1] < _MERGE_GAP_SECONDS)
        first = np.concatenate(([True], ~goes_on))
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
    """Return places of groups after the group ``merged`` went to the group ``kept``."""
    moved = np.where(groups == merged, kept, groups)
    return moved - (moved > merged)


#: Seconds between two stretches that go on.
_MERGE_GAP_SECONDS = 0.01

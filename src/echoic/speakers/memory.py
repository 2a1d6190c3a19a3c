"""What a diarizer remembers of a session: groups of windows and when they were heard, both bounded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import SpeakerWishes
from echoic.speakers.cluster import closest, likeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.speakers.regions import Past, Span

#: Groups that are remembered; beyond that the two that are most alike become one.
MOST_GROUPS = 128
#: Stretches of time that are remembered; beyond that the shortest goes to the one before it.
MOST_STRETCHES = 4096
#: A group of which it is not yet known who it is.
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Groups:
    """Windows that sound alike, as far as they are remembered; the arrays are read-only.

    Attributes:
        sums: The sums of their unit vectors, each times its seconds: float32, shape ``(groups, size)``.
        seconds: What they say anew: float32, shape ``(groups,)``.
        speakers: Who it is, or ``NOBODY``: shape ``(groups,)``.
    """

    sums: NDArray[np.float32]
    seconds: NDArray[np.float32]
    speakers: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.seconds)

    def added(self, vectors: NDArray[np.float32], seconds: NDArray[np.float32]) -> Groups:
        """Return them with more windows, each a group of its own and nobody's yet."""
        weighted = vectors * seconds[:, np.newaxis]
        return _frozen(
            np.concatenate((self.sums.reshape(-1, vectors.shape[1]), weighted)),
            np.concatenate((self.seconds, seconds)),
            np.concatenate((self.speakers, np.full(len(seconds), NOBODY))),
        )

    def said_by(self, speakers: NDArray[np.intp]) -> Groups:
        """Return them with other speakers."""
        return _frozen(self.sums, self.seconds, speakers)

    def without(self, one: int, other: int) -> Groups:
        """Return them with the group ``other`` put to the group ``one``."""
        sums, seconds = self.sums.copy(), self.seconds.copy()
        sums[one] += sums[other]
        seconds[one] += seconds[other]
        rest = np.arange(len(self)) != other
        return _frozen(sums[rest], seconds[rest], self.speakers[rest])


@dataclass(frozen=True, slots=True)
class Stretches:
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

    def added(self, since: float, spans: Sequence[Span], groups: Sequence[int]) -> Stretches:
        """Return what they say of the time before ``since``, and others, in any order, for the time after."""
        before = self.starts < since
        starts, ends, places = self.starts[before], self.ends[before], self.groups[before]
        order = sorted(range(len(spans)), key=lambda place: spans[place])
        return _stretches(
            np.concatenate((starts, [spans[place][0] for place in order])),
            np.concatenate((np.minimum(ends, since), [spans[place][1] for place in order])),
            np.concatenate((places, np.array([groups[place] for place in order], np.intp))),
        )

    def without(self, one: int, other: int) -> Stretches:
        """Return them after ``Groups.without``."""
        return _stretches(self.starts, self.ends, _moved(self.groups, one, other))

    def coarser(self) -> Stretches:
        """Return them with the shortest given to the one before it."""
        at = int((self.ends - self.starts)[1:].argmin()) + 1
        ends, rest = self.ends.copy(), np.arange(len(self)) != at
        ends[at - 1] = max(ends[at - 1], ends[at])
        return _stretches(self.starts[rest], ends[rest], self.groups[rest])


@dataclass(frozen=True, slots=True)
class Views:
    """The windows of the last seconds; the arrays are read-only, shape ``(windows,)``.

    Attributes:
        starts: Seconds on the session's clock, float64.
        ends: The same.
        groups: The group that each is in, by its place.
    """

    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    groups: NDArray[np.intp]

    def added(self, since: float, spans: Sequence[Span], groups: NDArray[np.intp]) -> Views:
        """Return those that end after ``since``, and more."""
        kept = self.ends > since
        edges = np.array(spans, np.float64).reshape(-1, 2)
        starts = np.concatenate((self.starts[kept], edges[:, 0]))
        ends = np.concatenate((self.ends[kept], edges[:, 1]))
        return _views(starts, ends, np.concatenate((self.groups[kept], groups)))

    def without(self, one: int, other: int) -> Views:
        """Return them after ``Groups.without``."""
        return _views(self.starts, self.ends, _moved(self.groups, one, other))


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a session; nothing in it changes.

    Attributes:
        groups: What was heard.
        stretches: When; those of two who speak at once overlap.
        views: The windows of the last seconds.
        past: The last seconds themselves, for windows that reach back.
        known: Speakers that got an id.
        wishes: What the client says of the speakers.
    """

    groups: Groups
    stretches: Stretches
    views: Views
    past: Past | None = None
    known: int = 0
    wishes: SpeakerWishes = field(default_factory=SpeakerWishes)

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        groups = (self.groups.sums, self.groups.seconds, self.groups.speakers)
        times = [
            array for one in (self.stretches, self.views) for array in (one.starts, one.ends, one.groups)
        ]
        past = self.past.audio.nbytes if self.past else 0
        return sum(array.nbytes for array in (*groups, *times)) + past

    def bounded(self) -> Memory:
        """Return it with no more groups and stretches than may be."""
        groups, stretches, views = self.groups, self.stretches, self.views
        while len(groups) > MOST_GROUPS:
            pair = closest(likeness(groups.sums, groups.seconds), groups.speakers)
            groups, stretches = groups.without(*pair), stretches.without(*pair)
            views = views.without(*pair)
        return replace(self, groups=groups, stretches=bounded(stretches), views=views)


def nothing() -> Memory:
    """Return what is known before anything is heard."""
    none = np.zeros(0, np.float32)
    nobody = np.zeros(0, np.intp)
    views = _views(np.zeros(0), np.zeros(0), nobody)
    return Memory(_frozen(none.reshape(0, 0), none, nobody), no_stretches(), views)


def no_stretches() -> Stretches:
    """Return no stretches."""
    return _stretches(np.zeros(0), np.zeros(0), np.zeros(0, np.intp))


def bounded(stretches: Stretches) -> Stretches:
    """Return no more stretches than are remembered."""
    while len(stretches) > MOST_STRETCHES:
        stretches = stretches.coarser()
    return stretches


def _frozen(sums: NDArray[np.float32], seconds: NDArray[np.float32], speakers: NDArray[np.intp]) -> Groups:
    for array in (sums, seconds, speakers):
        array.setflags(write=False)
    return Groups(sums, seconds, speakers)


def _stretches(starts: NDArray[np.float64], ends: NDArray[np.float64], groups: NDArray[np.intp]) -> Stretches:
    """Return stretches, those that go on in the same group as one."""
    if len(starts) > 1:
        goes_on = (groups[1:] == groups[:-1]) & (starts[1:] - ends[:-1] < _SEAM)
        first = np.concatenate(([True], ~goes_on))
        starts, ends, groups = starts[first], np.maximum.reduceat(ends, np.flatnonzero(first)), groups[first]
    for array in (starts, ends, groups):
        array.setflags(write=False)
    return Stretches(starts, ends, groups)


def _views(starts: NDArray[np.float64], ends: NDArray[np.float64], groups: NDArray[np.intp]) -> Views:
    for array in (starts, ends, groups):
        array.setflags(write=False)
    return Views(starts, ends, groups)


def _moved(groups: NDArray[np.intp], one: int, other: int) -> NDArray[np.intp]:
    """Return places of groups after the group ``other`` went to the group ``one``."""
    moved = np.where(groups == other, one, groups)
    return moved - (moved > other)


#: Seconds between two stretches that go on.
_SEAM = 0.01

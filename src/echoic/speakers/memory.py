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

    from echoic.speakers.regions import Scene, Span

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

    def added(self, spans: Sequence[Span], groups: Sequence[int]) -> Stretches:
        """Return them with more, which go on from those before them; what those said of their time goes."""
        starts, ends, places = self.starts, self.ends, self.groups
        for (start, end), group in zip(spans, groups, strict=True):
            before = int(np.searchsorted(starts, start))
            starts = np.append(starts[:before], start)
            ends = np.append(np.minimum(ends[:before], start), end)
            places = np.append(places[:before], group)
        return _stretches(starts, ends, places)

    def without(self, one: int, other: int) -> Stretches:
        """Return them after ``Groups.without``."""
        groups = np.where(self.groups == other, one, self.groups)
        return _stretches(self.starts, self.ends, groups - (groups > other))

    def coarser(self) -> Stretches:
        """Return them with the shortest given to the one before it."""
        at = int((self.ends - self.starts)[1:].argmin()) + 1
        ends, rest = self.ends.copy(), np.arange(len(self)) != at
        ends[at - 1] = ends[at]
        return _stretches(self.starts[rest], ends[rest], self.groups[rest])


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known of a session; nothing in it changes.

    Attributes:
        groups: What was heard.
        stretches: When.
        scene: The last seconds, for windows that reach back.
        known: Speakers that got an id.
        last: Who spoke last, or ``NOBODY``.
        wishes: What the client says of the speakers.
    """

    groups: Groups
    stretches: Stretches
    scene: Scene | None = None
    known: int = 0
    last: int = NOBODY
    wishes: SpeakerWishes = field(default_factory=SpeakerWishes)

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        groups, times = self.groups, self.stretches
        arrays = (groups.sums, groups.seconds, groups.speakers, times.starts, times.ends, times.groups)
        return sum(array.nbytes for array in arrays) + (self.scene.audio.nbytes if self.scene else 0)

    def bounded(self) -> Memory:
        """Return it with no more groups and stretches than may be."""
        groups, stretches = self.groups, self.stretches
        while len(groups) > MOST_GROUPS:
            pair = closest(likeness(groups.sums, groups.seconds), groups.speakers)
            groups, stretches = groups.without(*pair), stretches.without(*pair)
        return replace(self, groups=groups, stretches=bounded(stretches))


def nothing() -> Memory:
    """Return what is known before anything is heard."""
    none = np.zeros(0, np.float32)
    return Memory(_frozen(none.reshape(0, 0), none, np.zeros(0, np.intp)), no_stretches())


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
        last = np.concatenate((~goes_on, [True]))
        starts, ends, groups = starts[first], ends[last], groups[first]
    for array in (starts, ends, groups):
        array.setflags(write=False)
    return Stretches(starts, ends, groups)


#: Seconds between two stretches that go on.
_SEAM = 0.01

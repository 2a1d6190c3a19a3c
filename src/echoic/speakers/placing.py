"""When each group was heard, told anew for the last seconds by what followed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoic.speakers.memory import NOBODY
from echoic.speakers.passages import FRAMES, runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from echoic.speakers.memory import Memory, Stretches
    from echoic.speakers.regions import Scene

#: The share of a scene before its new piece whose turns are told better by what followed them.
_BACK = 0.4
#: Frames by which a window that is too short to say much of a voice counts as farther away.
_DOUBT = 1_000


def voices_of(memory: Memory, scene: Scene, active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the voice of the scene that each of the memory's views mostly is, or ``NOBODY``.

    Args:
        memory: With the windows of the last seconds.
        scene: The last seconds.
        active: Who speaks in each frame of it.
    """
    views = memory.views
    return _voices_of(_frames(views.starts, scene, active), _frames(views.ends, scene, active), active)


def placed(memory: Memory, scene: Scene, active: NDArray[np.bool_], shortest: float) -> Stretches:
    """Return when each group was heard: a frame of a voice is of that voice's window whose middle is nearest.

    Args:
        memory: With the windows of the last seconds.
        scene: The last seconds.
        active: Who speaks in each frame of it.
        shortest: Seconds below which a window is taken only where the voice has no longer one.
    """
    since = max(scene.origin, scene.start - _BACK * (scene.end - scene.origin))
    spans, groups = [], []
    for group, begin, end in _heard(memory, scene, active, shortest):
        start = max(since, scene.origin + begin / FRAMES)
        if (until := min(scene.end, scene.origin + end / FRAMES)) > start:
            spans.append((start, until))
            groups.append(group)
    return memory.stretches.added(since, spans, groups)


def _heard(
    memory: Memory, scene: Scene, active: NDArray[np.bool_], shortest: float
) -> Iterator[tuple[int, int, int]]:
    """Yield the groups with the frames from where to where they are heard."""
    views = memory.views
    starts, ends = ((at - scene.origin) * FRAMES for at in (views.starts, views.ends))
    whose = voices_of(memory, scene, active)
    doubt = np.where(ends - starts < shortest * FRAMES, _DOUBT, 0)
    for voice in range(active.shape[1]):
        mine, frames = np.flatnonzero(whose == voice), np.flatnonzero(active[:, voice])
        if len(mine) and len(frames):
            away = np.abs(frames[:, np.newaxis] - (starts + ends)[mine] / 2) + doubt[mine]
            groups = np.full(len(active), NOBODY)
            groups[frames] = views.groups[mine[away.argmin(axis=1)]]
            for group in np.unique(groups[frames]).tolist():
                yield from ((group, *span) for span in runs(groups == group))
        elif len(frames) and (held := _held(memory.stretches, scene, active[:, voice])) is not None:
            yield from ((held, *span) for span in runs(active[:, voice]))


def _held(stretches: Stretches, scene: Scene, active: NDArray[np.bool_]) -> int | None:
    """Return the group that most of a voice was before, or None: it was not heard."""
    late = stretches.ends > scene.origin
    first, last = _frames(stretches.starts[late], scene, active), _frames(stretches.ends[late], scene, active)
    sums = np.concatenate(([0], active.cumsum()))
    shared = np.bincount(stretches.groups[late], sums[last] - sums[first]) if late.any() else np.zeros(1)
    return int(shared.argmax()) if shared.max() > 0 else None


def _frames(times: NDArray[np.float64], scene: Scene, active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the frames of the scene at these times."""
    return np.clip(np.rint((times - scene.origin) * FRAMES), 0, len(active)).astype(np.intp)


def _voices_of(
    first: NDArray[np.intp], last: NDArray[np.intp], active: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the voice that each window mostly is now, by its frames from where to where."""
    alone = active & (active.sum(axis=1, keepdims=True) == 1)
    sums = np.concatenate((np.zeros((1, active.shape[1]), np.intp), alone.cumsum(axis=0)))
    shares = sums[last] - sums[first]
    whose: NDArray[np.intp] = np.where(shares.any(axis=1), shares.argmax(axis=1), NOBODY)
    return whose

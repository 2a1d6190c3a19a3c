"""Turns: the grid they lie on, the likeliest order of speakers, and their joining."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from echoic.session.sound import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from echoic.speakers.regions import Look, Span


def slots(region: Sequence[Look], length: float) -> list[Span]:
    """Return the new part of a stretch of speech in slots of about this many seconds."""
    start, end = region[0].new[0], region[-1].new[1]
    count = max(1, round((end - start) / length))
    edges = [start + (end - start) * place / count for place in range(count)] + [end]
    return list(pairwise(edges))


def best_path(scores: NDArray[np.float32], switch: float, before: int | None) -> list[int]:
    """Return the speaker of each slot: the path of the best score, less the price of its changes.

    Args:
        scores: float32, shape ``(slots, speakers)``.
        switch: The price of a change of speakers.
        before: Who spoke before, or None: nobody.
    """
    total = scores[0].astype(np.float64)
    if before is not None:
        total -= switch
        total[before] += switch
    came: list[NDArray[np.intp]] = []
    for row in scores[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - switch
        came.append(np.where(stays, np.arange(len(total)), best))
        total = np.where(stays, total, total[best] - switch) + row
    path = [int(total.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return path[::-1]


def joined_turns(spans: Iterable[tuple[Span, int]], pause: float) -> tuple[Turn, ...]:
    """Return the turns of these spans in order, a speaker's without a pause between them as one."""
    turns: list[Turn] = []
    for (start, end), speaker in spans:
        if turns and turns[-1].speaker == speaker and start - turns[-1].end < pause:
            turns[-1] = Turn(turns[-1].start, end, speaker)
        else:
            turns.append(Turn(start, end, speaker))
    return tuple(turns)

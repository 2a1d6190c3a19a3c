"""Turns: the likeliest order of speakers, and their joining."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import TimeSpan
from echoic.interfaces.diarizer import SpeakerTurn


def find_best_path(
    scores: NDArray[np.float32], switch_penalty: float, previous_speaker: int | None
) -> list[int]:
    """Return the speaker of each slot: the path of the best score, less the price of its changes.

    Args:
        scores: float32, shape ``(slots, speakers)``.
        switch_penalty: The price of a change of speakers.
        previous_speaker: Who spoke before, or None: nobody.
    """
    total = scores[0].astype(np.float64)
    if previous_speaker is not None:
        total -= switch_penalty
        total[previous_speaker] += switch_penalty
    came: list[NDArray[np.intp]] = []
    for row in scores[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - switch_penalty
        came.append(np.where(stays, np.arange(len(total)), best))
        total = np.where(stays, total, total[best] - switch_penalty) + row
    path = [int(total.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return path[::-1]


def join_turns(spans: Iterable[tuple[TimeSpan, int]], max_pause: float) -> tuple[SpeakerTurn, ...]:
    """Return turns: a speaker's spans as one where neither a pause nor somebody else comes between them.

    Args:
        spans: From where to where and who, in order of their starts; those of several speakers may overlap.
        max_pause: Seconds of silence that end a turn.
    """
    turns: list[SpeakerTurn] = []
    latest: dict[int, int] = {}
    for (start, end), speaker in spans:
        at = latest.get(speaker)
        if at is not None and start - turns[at].end < max_pause:
            said = turns[at].end
            if start <= said or not any(turns[place].end > said for place in latest.values()):
                turns[at] = SpeakerTurn(turns[at].start, max(said, end), speaker)
                continue
        latest[speaker] = len(turns)
        turns.append(SpeakerTurn(start, end, speaker))
    return tuple(turns)

"""Finds the most probable sequence of speakers and joins spans into turns."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from echoic.diarization.analysis_window import TimeSpan
from echoic.interfaces.diarizer import SpeakerTurn


def find_best_path(
    scores: NDArray[np.float32], switch_penalty: float, previous_speaker: int | None
) -> list[int]:
    """Return the speaker of each slot on the path with the highest score (Viterbi).

    Args:
        scores: float32, shape ``(slots, speakers)``.
        switch_penalty: Subtracted for each change of speakers.
        previous_speaker: Speaker before the first slot, or None.
    """
    total = scores[0].astype(np.float64)
    if previous_speaker is not None:
        total -= switch_penalty
        total[previous_speaker] += switch_penalty
    predecessors: list[NDArray[np.intp]] = []
    for row in scores[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - switch_penalty
        predecessors.append(np.where(stays, np.arange(len(total)), best))
        total = np.where(stays, total, total[best] - switch_penalty) + row
    path = [int(total.argmax())]
    for previous in reversed(predecessors):
        path.append(int(previous[path[-1]]))
    return path[::-1]


def join_turns(spans: Iterable[tuple[TimeSpan, int]], max_pause: float) -> tuple[SpeakerTurn, ...]:
    """Join the spans of a speaker that neither a pause nor another speaker separates.

    Args:
        spans: Spans with their speakers, sorted by start; those of several speakers may overlap.
        max_pause: Seconds of silence that end a turn.
    """
    turns: list[SpeakerTurn] = []
    latest: dict[int, int] = {}
    for (start, end), speaker in spans:
        last_turn = latest.get(speaker)
        if last_turn is not None and start - turns[last_turn].end < max_pause:
            last_end = turns[last_turn].end
            if start <= last_end or not any(turns[index].end > last_end for index in latest.values()):
                turns[last_turn] = SpeakerTurn(turns[last_turn].start, max(last_end, end), speaker)
                continue
        latest[speaker] = len(turns)
        turns.append(SpeakerTurn(start, end, speaker))
    return tuple(turns)

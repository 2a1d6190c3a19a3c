from __future__ import annotations

import numpy as np
import pytest

from echoic.diarization import state
from echoic.diarization.state import UNKNOWN, build_empty_state, trim_intervals


def test_new_intervals_replace_those_after_their_start() -> None:
    intervals = (
        build_empty_state()
        .intervals.replace_since(0.0, [(0.0, 1.0), (1.0, 2.0)], [0, 1])
        .replace_since(1.5, [(1.5, 3.0)], [2])
    )
    assert intervals.starts.tolist() == [0.0, 1.0, 1.5]
    assert intervals.ends.tolist() == [1.0, 1.5, 3.0]
    assert intervals.groups.tolist() == [0, 1, 2]


def test_adjoining_intervals_of_a_group_are_joined() -> None:
    intervals = build_empty_state().intervals.replace_since(
        0.0, [(0.0, 1.0), (1.0, 2.0), (2.5, 3.0)], [4, 4, 4]
    )
    assert intervals.starts.tolist() == [0.0, 2.5]


def test_merging_two_groups_renumbers_their_intervals() -> None:
    groups = build_empty_state().groups.with_windows(
        np.eye(3, dtype=np.float32), np.array([1, 2, 3], np.float32)
    )
    joined = groups.merge_pair(0, 1)
    assert joined.sums.tolist() == [[1, 2, 0], [0, 0, 3]]
    assert joined.seconds.tolist() == [3, 3]
    assert joined.speakers.tolist() == [UNKNOWN, UNKNOWN]
    intervals = (
        build_empty_state().intervals.replace_since(0.0, [(0, 1), (1, 2), (2, 3)], [0, 1, 2]).merge_pair(0, 1)
    )
    assert intervals.ends.tolist() == [2, 3]
    assert intervals.groups.tolist() == [0, 1]


def test_the_shortest_interval_joins_the_one_before_it() -> None:
    intervals = (
        build_empty_state()
        .intervals.replace_since(0.0, [(0, 0.1), (1, 2), (2, 2.2), (2.2, 4)], [0, 1, 2, 3])
        .merge_shortest()
    )
    assert intervals.starts.tolist() == [0, 1, 2.2]
    assert intervals.ends.tolist() == [0.1, 2.2, 4]


def test_trimming_merges_the_shortest_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_INTERVALS", 2)
    intervals = build_empty_state().intervals.replace_since(
        0.0, [(0, 3), (4, 4.1), (5, 7), (8, 8.5)], [0, 1, 2, 3]
    )
    trimmed = trim_intervals(intervals)
    assert trimmed.starts.tolist() == [0, 5]
    assert trimmed.ends.tolist() == [4.1, 8.5]

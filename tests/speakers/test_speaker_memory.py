from __future__ import annotations

import numpy as np

from echoic.speakers.memory import NOBODY, nothing


def test_later_stretches_say_better_what_their_time_was() -> None:
    stretches = nothing().stretches.added(0.0, [(0.0, 1.0), (1.0, 2.0)], [0, 1]).added(1.5, [(1.5, 3.0)], [2])
    assert stretches.starts.tolist() == [0.0, 1.0, 1.5]
    assert stretches.ends.tolist() == [1.0, 1.5, 3.0]
    assert stretches.groups.tolist() == [0, 1, 2]


def test_stretches_of_one_group_that_touch_are_one() -> None:
    stretches = nothing().stretches.added(0.0, [(0.0, 1.0), (1.0, 2.0), (2.5, 3.0)], [4, 4, 4])
    assert stretches.starts.tolist() == [0.0, 2.5]


def test_two_groups_become_one_with_their_stretches() -> None:
    groups = nothing().groups.added(np.eye(3, dtype=np.float32), np.array([1, 2, 3], np.float32))
    joined = groups.without(0, 1)
    assert joined.sums.tolist() == [[1, 2, 0], [0, 0, 3]]
    assert joined.seconds.tolist() == [3, 3]
    assert joined.speakers.tolist() == [NOBODY, NOBODY]
    stretches = nothing().stretches.added(0.0, [(0, 1), (1, 2), (2, 3)], [0, 1, 2]).without(0, 1)
    assert stretches.ends.tolist() == [2, 3]
    assert stretches.groups.tolist() == [0, 1]


def test_the_shortest_stretch_goes_to_the_one_before_it() -> None:
    stretches = nothing().stretches.added(0.0, [(0, 0.1), (1, 2), (2, 2.2), (2.2, 4)], [0, 1, 2, 3]).coarser()
    assert stretches.starts.tolist() == [0, 1, 2.2]
    assert stretches.ends.tolist() == [0.1, 2.2, 4]

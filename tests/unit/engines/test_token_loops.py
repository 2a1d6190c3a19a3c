from __future__ import annotations

import pytest

from echoic.engines.token_loops import remove_loop


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ([], []),
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2, 2], [1, 2, 2]),
        ([1, 2, 2, 2], [1, 2]),
        ([9, 1, 2, 1, 2, 1, 2, 1, 2], [9, 1, 2]),
        ([1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [1, 2, 3, 1]),
    ],
)
def test_a_loop_is_kept_once(tokens: list[int], kept: list[int]) -> None:
    assert remove_loop(tokens) == kept

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.parakeet.decoder import CtcDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.engines.parakeet.decoder import EmittedToken

BLANK = 3


def build_frames(tokens: Sequence[int]) -> NDArray[np.float32]:
    """Return frames, each with one token at probability 0.7."""
    logs = np.full((len(tokens), BLANK + 1), np.log(0.1), np.float32)
    logs[np.arange(len(tokens)), list(tokens)] = np.log(0.7)
    return logs


def list_emissions(emissions: Sequence[EmittedToken], moved: int = 0) -> list[tuple[int, int]]:
    return [(one.token_id, one.frame + moved) for one in emissions]


paths = st.lists(st.integers(0, BLANK), max_size=30)


@given(paths)
def test_a_run_is_one_token_and_a_blank_is_none(path: list[int]) -> None:
    decoder = CtcDecoder(BLANK)
    [(emissions, _)] = decoder.decode([build_frames(path)], [decoder.initial_state])
    assert [one.token_id for one in emissions] == [token for token, _ in groupby(path) if token != BLANK]


@given(paths, st.lists(st.integers(0, 30), max_size=5))
def test_pieces_equal_the_whole(path: list[int], cuts: list[int]) -> None:
    decoder = CtcDecoder(BLANK)
    [(at_once, end)] = decoder.decode([build_frames(path)], [decoder.initial_state])
    state, tokens = decoder.initial_state, []
    for first, last in pairwise([0, *sorted(min(cut, len(path)) for cut in cuts), len(path)]):
        [(emissions, state)] = decoder.decode([build_frames(path[first:last])], [state])
        tokens += list_emissions(emissions, first)
    assert tokens == list_emissions(at_once)
    assert state == end


def test_lanes_are_independent() -> None:
    decoder = CtcDecoder(BLANK)
    answers = decoder.decode([build_frames([0, 0]), build_frames([]), build_frames([0, 1])], [BLANK, 2, 0])
    assert [(list_emissions(emissions), state) for emissions, state in answers] == [
        ([(0, 0)], 0),
        ([], 2),
        ([(1, 1)], 1),
    ]


def test_a_token_has_the_length_and_best_probability_of_its_run() -> None:
    [(emissions, _)] = CtcDecoder(BLANK).decode([build_frames([BLANK, 1, 1, BLANK, 1])], [BLANK])
    assert [(one.frame, one.duration_frames) for one in emissions] == [(1, 2), (4, 1)]
    assert emissions[0].probability == pytest.approx(0.7)


def test_skipped_frames_separate_equal_tokens() -> None:
    decoder = CtcDecoder(BLANK)
    assert decoder.skip_frames(1, 0) == 1
    assert decoder.skip_frames(1, 4) == BLANK

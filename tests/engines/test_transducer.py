from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.transducer import Emission, Transducer, TransducerState, passed, start_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Frames = NDArray[np.float32]

TOKENS, BLANK = 5, 5
DURATIONS = (0, 1, 2, 3, 4)
WIDTH = 3


class Table:
    """A network whose logits are drawn from a table by frame, token and memory; the memory adds tokens up."""

    def __init__(self, seed: int, durations: int = len(DURATIONS), *, talkative: float = 0.0) -> None:
        chance = np.random.default_rng(seed)
        self.frames = chance.normal(size=(WIDTH, TOKENS + 1 + durations)).astype(np.float32)
        self.tokens = chance.normal(size=(TOKENS + 1, TOKENS + 1 + durations)).astype(np.float32)
        self.memory = chance.normal(size=TOKENS + 1 + durations).astype(np.float32)
        self.tokens[:, BLANK] -= talkative
        self.calls = 0
        self.rows = 0

    def __call__(
        self, frames: Frames, tokens: NDArray[np.int32], memory: Sequence[Frames]
    ) -> tuple[Frames, list[Frames]]:
        self.calls += 1
        self.rows += frames.shape[0] * frames.shape[1]
        after = memory[0] * np.float32(0.5) + tokens[None, :, None].astype(np.float32)
        before = np.sin(after[0, :, :1]) * self.memory + self.tokens[tokens]
        logits = np.stack([frame @ self.frames for frame in frames.reshape(-1, 1, WIDTH)])
        return logits.reshape(*frames.shape[:2], -1) + before[:, None], [after, memory[1] + 1]


class Told:
    """A network that says for each frame what its first value means, whatever came before."""

    def __init__(self, script: Sequence[tuple[int, int]]) -> None:
        self.script = script

    def __call__(
        self, frames: Frames, tokens: NDArray[np.int32], memory: Sequence[Frames]
    ) -> tuple[Frames, Sequence[Frames]]:
        del tokens
        logits = np.zeros((*frames.shape[:2], TOKENS + 1 + len(DURATIONS)), np.float32)
        for place, number in zip(
            logits.reshape(-1, logits.shape[2]), frames[:, :, 0].ravel().astype(int).tolist(), strict=True
        ):
            token, duration = self.script[number]
            place[token] = place[BLANK + 1 + duration] = 10.0
        return logits, memory


def start() -> TransducerState:
    return start_state(BLANK, [(1, 1), (2, 1)])


def sound(seed: int, frames: int) -> Frames:
    return np.random.default_rng(seed).normal(size=(frames, WIDTH)).astype(np.float32)


def numbered(frames: int) -> Frames:
    return np.repeat(np.arange(frames, dtype=np.float32)[:, None], WIDTH, axis=1)


def said(emissions: Sequence[Emission], moved: int = 0) -> list[tuple[int, int, int]]:
    return [(one.token, one.frame + moved, one.duration) for one in emissions]


def frame_by_frame(network: Table, frames: Frames, durations: Sequence[int]) -> list[tuple[int, int, int]]:
    """The textbook's loop, one frame of one lane at a time."""
    heard: list[tuple[int, int, int]] = []
    state, token, at, symbols = [part[:, None] for part in start().memory], BLANK, 0, 0
    while at < len(frames):
        logits, after = network(frames[None, at : at + 1], np.array([token], np.int32), state)
        best = int(logits[0, 0, : BLANK + 1].argmax())
        lasts = durations[int(logits[0, 0, BLANK + 1 :].argmax())] if durations else 0
        if best != BLANK:
            heard.append((best, at, lasts))
            token, state, symbols = best, after, symbols + 1
        if lasts:
            at, symbols = at + lasts, 0
        elif best == BLANK or symbols == 10:
            at, symbols = at + 1, 0
    return heard


sounds = st.tuples(st.integers(0, 2**20), st.integers(0, 30))


@given(sounds, st.integers(0, 50), st.integers(1, 9), st.sampled_from([DURATIONS, ()]), st.floats(0, 3))
def test_it_says_what_the_loop_over_single_frames_says(
    drawn: tuple[int, int], seed: int, lookahead: int, durations: tuple[int, ...], talkative: float
) -> None:
    network, frames = Table(seed, len(durations), talkative=talkative), sound(*drawn)
    [(emissions, _)] = Transducer(network, BLANK, durations, lookahead=lookahead).decode([frames], [start()])
    assert said(emissions) == frame_by_frame(network, frames, durations)


@given(sounds, st.integers(0, 50), st.lists(st.integers(0, 30), max_size=6), st.integers(1, 9))
def test_frames_in_pieces_say_what_they_say_in_one_go(
    drawn: tuple[int, int], seed: int, cuts: list[int], lookahead: int
) -> None:
    frames = sound(*drawn)
    decoder = Transducer(Table(seed, talkative=1.0), BLANK, DURATIONS, lookahead=lookahead)
    [(at_once, end)] = decoder.decode([frames], [start()])
    state, heard = start(), []
    for first, last in pairwise([0, *sorted(min(cut, len(frames)) for cut in cuts), len(frames)]):
        [(emissions, state)] = decoder.decode([frames[first:last]], [state])
        heard += said(emissions, first)
    assert heard == said(at_once)
    assert (state.token, state.skip) == (end.token, end.skip)
    assert all(np.array_equal(a, b) for a, b in zip(state.memory, end.memory, strict=True))


@given(
    drawn=st.lists(sounds, max_size=5),
    seed=st.integers(0, 50),
    lookahead=st.integers(1, 9),
    together=st.booleans(),
)
def test_lanes_together_say_what_each_says_alone(
    drawn: list[tuple[int, int]], seed: int, lookahead: int, *, together: bool
) -> None:
    lanes = [sound(*one) for one in drawn]
    decoder = Transducer(Table(seed, talkative=1.0), BLANK, DURATIONS, lookahead=lookahead, together=together)
    answers = decoder.decode(lanes, [start()] * len(lanes))
    for lane, (emissions, state) in zip(lanes, answers, strict=True):
        [(alone, end)] = decoder.decode([lane], [start()])
        assert emissions == alone
        assert (state.token, state.skip) == (end.token, end.skip)


def test_a_token_moves_on_by_its_duration_and_a_blank_by_one_at_least() -> None:
    script = [(BLANK, 0), (1, 2), (2, 1), (3, 4), (BLANK, 3), (4, 1), (4, 1), (4, 1)]
    [(emissions, state)] = Transducer(Told(script), BLANK, DURATIONS).decode([numbered(8)], [start()])
    assert said(emissions) == [(1, 1, 2), (3, 3, 4), (4, 7, 1)]
    assert (state.token, state.skip) == (4, 0)


def test_a_duration_that_reaches_beyond_the_end_passes_over_frames_that_follow() -> None:
    decoder = Transducer(Told([(1, 4), (2, 1), (2, 1), (2, 1)]), BLANK, DURATIONS)
    [(_, state)] = decoder.decode([numbered(1)], [start()])
    assert state.skip == 3
    assert said(decoder.decode([numbered(4)[1:]], [state])[0][0]) == []
    assert passed(state, 2).skip == 1
    assert passed(state, 9).skip == 0


def test_a_frame_that_never_ends_is_left_after_some_tokens() -> None:
    decoder = Transducer(Told([(1, 0), (2, 0)]), BLANK, DURATIONS, max_symbols=3)
    [(emissions, _)] = decoder.decode([numbered(2)], [start()])
    assert [one.token for one in emissions] == [1, 1, 1, 2, 2, 2]


def test_a_token_has_its_probability_among_tokens_and_blank() -> None:
    [(emissions, _)] = Transducer(Told([(1, 1)]), BLANK, DURATIONS).decode([numbered(1)], [start()])
    assert emissions[0].probability == pytest.approx(np.exp(10) / (np.exp(10) + TOKENS))


def test_frames_without_tokens_need_a_step_for_each_lookahead_only() -> None:
    network = Table(0, 0, talkative=-100.0)
    Transducer(network, BLANK, lookahead=8).decode([sound(1, 32), sound(2, 16)], [start(), start()])
    assert network.calls == 4


def test_asked_apart_the_network_is_given_one_frame_of_one_lane() -> None:
    network = Table(3)
    decoder = Transducer(network, BLANK, DURATIONS, together=False)
    decoder.decode([sound(1, 9), sound(2, 9)], [start(), start()])
    assert network.calls == network.rows


def test_no_lanes_and_no_frames_say_nothing() -> None:
    decoder = Transducer(Table(0), BLANK, DURATIONS)
    assert decoder.decode([], []) == []
    [(emissions, state)] = decoder.decode([sound(0, 0)], [start()])
    assert emissions == []
    assert state.skip == 0

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.engines.parakeet.transducer import (
    DecoderLane,
    LogitsJointOutput,
    Prediction,
    Transducer,
    TransducerState,
    stack_frames,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from echoic.engines.parakeet.decoder import EmittedToken

    Frames = NDArray[np.float32]

TOKENS, BLANK = 5, 5
DURATIONS = (0, 1, 2, 3, 4)
WIDTH = 3


class TableNetwork:
    """A network with random logits by frame, token and state; it caches its prediction in the lane."""

    def __init__(self, seed: int, durations: Sequence[int] = DURATIONS, *, talkative: float = 0.0) -> None:
        chance = np.random.default_rng(seed)
        outputs = TOKENS + 1 + len(durations)
        self.durations = durations
        self.frames = chance.normal(size=(WIDTH, outputs)).astype(np.float32)
        self.tokens = chance.normal(size=(TOKENS + 1, outputs)).astype(np.float32)
        self.memory = chance.normal(size=outputs).astype(np.float32)
        self.tokens[:, BLANK] -= talkative
        self.calls = 0
        self.rows = 0
        self.predictions = 0

    def build_initial_state(self) -> Frames:
        return np.zeros(2, np.float32)

    def score_frames(self, frames: Sequence[Frames], lanes: Sequence[DecoderLane]) -> LogitsJointOutput:
        self.calls += 1
        self.rows += sum(len(one) for one in frames)
        for lane in lanes:
            if lane.prediction is None:
                self.predictions += 1
                lane.prediction = Prediction(*self._predict(lane.last_token, lane.predictor_state))
        predictions = [lane.prediction for lane in lanes if isinstance(lane.prediction, tuple)]
        logits = np.stack([frame @ self.frames for frame in stack_frames(frames).reshape(-1, 1, WIDTH)])
        logits = (
            logits.reshape(len(lanes), -1, logits.shape[-1])
            + np.stack([before for before, _ in predictions])[:, None]
        )
        return LogitsJointOutput(logits, BLANK, self.durations, lambda number: predictions[number][1])

    def _predict(self, token: int, memory: object) -> tuple[Frames, Frames]:
        assert isinstance(memory, np.ndarray)
        after = np.array([memory[0] * 0.5 + token, memory[1] + 1], np.float32)
        return np.sin(after[0]) * self.memory + self.tokens[token], after


class ScriptedNetwork:
    """A network whose result depends only on the first value of a frame."""

    def __init__(self, script: Sequence[tuple[int, int]]) -> None:
        self.script = script

    def build_initial_state(self) -> None:
        return None

    def score_frames(self, frames: Sequence[Frames], lanes: Sequence[DecoderLane]) -> LogitsJointOutput:
        together = stack_frames(frames)
        logits = np.zeros((*together.shape[:2], TOKENS + 1 + len(DURATIONS)), np.float32)
        for place, number in zip(
            logits.reshape(-1, logits.shape[2]), together[:, :, 0].ravel().astype(int).tolist(), strict=True
        ):
            token, duration = self.script[number]
            place[token] = place[BLANK + 1 + duration] = 10.0
        return LogitsJointOutput(logits, BLANK, DURATIONS, lambda number: lanes[number].predictor_state)


def decode_alone(
    network: TableNetwork | ScriptedNetwork, frames: Frames
) -> tuple[list[EmittedToken], TransducerState]:
    decoder = Transducer(network, BLANK)
    [answer] = decoder.decode([frames], [decoder.initial_state])
    return answer


def random_frames(seed: int, frames: int) -> Frames:
    return np.random.default_rng(seed).normal(size=(frames, WIDTH)).astype(np.float32)


def numbered_frames(frames: int) -> Frames:
    return np.repeat(np.arange(frames, dtype=np.float32)[:, None], WIDTH, axis=1)


def list_emissions(emissions: Sequence[EmittedToken], moved: int = 0) -> list[tuple[int, int, int]]:
    return [(one.token_id, one.frame + moved, one.duration_frames) for one in emissions]


def decode_frame_by_frame(network: TableNetwork, frames: Frames) -> list[tuple[int, int, int]]:
    """The textbook loop, one frame of one lane at a time."""
    tokens: list[tuple[int, int, int]] = []
    memory: object = network.build_initial_state()
    token, at, symbols = BLANK, 0, 0
    while at < len(frames):
        joint_output = network.score_frames([frames[at : at + 1]], [DecoderLane(token, memory)])
        best, lasts = joint_output.best_tokens[0][0], joint_output.durations[0][0]
        if best != BLANK:
            tokens.append((best, at, lasts))
            token, memory, symbols = best, joint_output.get_predictor_state(0), symbols + 1
        if lasts:
            at, symbols = at + lasts, 0
        elif best == BLANK or symbols == 10:
            at, symbols = at + 1, 0
    return tokens


sounds = st.tuples(st.integers(0, 2**20), st.integers(0, 30))


@given(sounds, st.integers(0, 50), st.integers(1, 9), st.sampled_from([DURATIONS, ()]), st.floats(0, 3))
def test_lookahead_equals_the_loop_over_single_frames(
    drawn: tuple[int, int], seed: int, lookahead: int, durations: tuple[int, ...], talkative: float
) -> None:
    network, frames = TableNetwork(seed, durations, talkative=talkative), random_frames(*drawn)
    decoder = Transducer(network, BLANK, lookahead=lookahead)
    [(emissions, _)] = decoder.decode([frames], [decoder.initial_state])
    assert list_emissions(emissions) == decode_frame_by_frame(network, frames)


@given(sounds, st.integers(0, 50), st.lists(st.integers(0, 30), max_size=6), st.integers(1, 9))
def test_pieces_equal_the_whole(drawn: tuple[int, int], seed: int, cuts: list[int], lookahead: int) -> None:
    frames = random_frames(*drawn)
    decoder = Transducer(TableNetwork(seed, talkative=1.0), BLANK, lookahead=lookahead)
    [(at_once, end)] = decoder.decode([frames], [decoder.initial_state])
    state, tokens = decoder.initial_state, []
    for first, last in pairwise([0, *sorted(min(cut, len(frames)) for cut in cuts), len(frames)]):
        [(emissions, state)] = decoder.decode([frames[first:last]], [state])
        tokens += list_emissions(emissions, first)
    assert tokens == list_emissions(at_once)
    assert (state.last_token, state.frames_to_skip) == (end.last_token, end.frames_to_skip)
    assert np.array_equal(state.predictor_state, end.predictor_state)  # type: ignore[arg-type]  # the network's own


@given(
    drawn=st.lists(sounds, max_size=5),
    seed=st.integers(0, 50),
    lookahead=st.integers(1, 9),
    together=st.booleans(),
)
def test_a_batch_equals_single_lanes(
    drawn: list[tuple[int, int]], seed: int, lookahead: int, *, together: bool
) -> None:
    lanes = [random_frames(*one) for one in drawn]
    decoder = Transducer(
        TableNetwork(seed, talkative=1.0), BLANK, lookahead=lookahead, allow_batching=together
    )
    answers = decoder.decode(lanes, [decoder.initial_state] * len(lanes))
    for lane, (emissions, state) in zip(lanes, answers, strict=True):
        [(alone, end)] = decoder.decode([lane], [decoder.initial_state])
        assert emissions == alone
        assert (state.last_token, state.frames_to_skip) == (end.last_token, end.frames_to_skip)


def test_tokens_skip_their_duration_and_blanks_at_least_one() -> None:
    script = [(BLANK, 0), (1, 2), (2, 1), (3, 4), (BLANK, 3), (4, 1), (4, 1), (4, 1)]
    emissions, state = decode_alone(ScriptedNetwork(script), numbered_frames(8))
    assert list_emissions(emissions) == [(1, 1, 2), (3, 3, 4), (4, 7, 1)]
    assert (state.last_token, state.frames_to_skip) == (4, 0)


def test_a_duration_beyond_the_end_skips_later_frames() -> None:
    decoder = Transducer(ScriptedNetwork([(1, 4), (2, 1), (2, 1), (2, 1)]), BLANK)
    [(_, state)] = decoder.decode([numbered_frames(1)], [decoder.initial_state])
    assert state.frames_to_skip == 3
    assert list_emissions(decoder.decode([numbered_frames(4)[1:]], [state])[0][0]) == []
    assert decoder.skip_frames(state, 2).frames_to_skip == 1
    assert decoder.skip_frames(state, 9).frames_to_skip == 0


def test_tokens_at_one_frame_are_limited() -> None:
    decoder = Transducer(ScriptedNetwork([(1, 0), (2, 0)]), BLANK, max_symbols=3)
    [(emissions, _)] = decoder.decode([numbered_frames(2)], [decoder.initial_state])
    assert [one.token_id for one in emissions] == [1, 1, 1, 2, 2, 2]


def test_probabilities_are_among_tokens_and_blank() -> None:
    emissions, _ = decode_alone(ScriptedNetwork([(1, 1)]), numbered_frames(1))
    assert emissions[0].probability == pytest.approx(np.exp(10) / (np.exp(10) + TOKENS))


def test_blanks_need_one_step_per_lookahead() -> None:
    network = TableNetwork(0, (), talkative=-100.0)
    decoder = Transducer(network, BLANK, lookahead=8)
    decoder.decode([random_frames(1, 32), random_frames(2, 16)], [decoder.initial_state] * 2)
    assert network.calls == 4


def test_the_prediction_is_computed_once_per_token() -> None:
    network = TableNetwork(5, talkative=-1.0)
    emissions, _ = decode_alone(network, random_frames(3, 200))
    assert 0 < len(emissions) < network.calls
    assert len(emissions) <= network.predictions <= len(emissions) + 1


def test_without_batches_a_call_gets_one_frame() -> None:
    network = TableNetwork(3)
    decoder = Transducer(network, BLANK, allow_batching=False)
    decoder.decode([random_frames(1, 9), random_frames(2, 9)], [decoder.initial_state] * 2)
    assert network.calls == network.rows


def test_no_lanes_and_no_frames_give_no_tokens() -> None:
    decoder = Transducer(TableNetwork(0), BLANK)
    assert decoder.decode([], []) == []
    [(emissions, state)] = decoder.decode([random_frames(0, 0)], [decoder.initial_state])
    assert emissions == []
    assert state.frames_to_skip == 0

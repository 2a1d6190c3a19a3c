"""Greedy decoding of transducers (TDT and RNNT) over encoder frames, for many lanes, from a given state.

Each step scores the next few frames of all unfinished lanes, with each lane's current prediction. A blank
does not change the prediction, so the scores of later frames stay valid until a token is emitted: a lane
needs one step per token and one per run of blanks, not one per frame. The output of the prediction network
for a token is cached in the lane until the next token.
Sources: Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations",
https://arxiv.org/abs/2304.06795; Bataev et al., "Label-Looping", https://arxiv.org/abs/2406.06220.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.decoder import EmittedToken, EncoderFrames

#: The most tokens at one frame. Source: NeMo's greedy decoding.
MAX_SYMBOLS = 10
#: Frames of a lane that one step scores: a TDT skips blanks by its durations, an RNNT emits one at most
#: frames.
LOOKAHEAD = {"tdt": 2, "rnnt": 8}


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """The decoder state of a lane between two windows."""

    #: The last token, or the blank at the start.
    last_token: int
    #: The prediction network's state before that token, in the network's own type.
    predictor_state: object
    #: Frames to skip: the part of the last duration that reaches beyond the end.
    frames_to_skip: int = 0
    #: Progress through hotwords (``biasing``), or None.
    bias_state: object = None


class Prediction(NamedTuple):
    """The output of the prediction network for a lane's last token."""

    #: The input of the joint network, in the network's own array type.
    projected: Any
    #: The prediction network's state after the token.
    predictor_state: Any


@dataclass(slots=True, eq=False)
class DecoderLane:
    """The position of a lane in its token sequence, as the networks see it."""

    #: The last token, or the blank at the start.
    last_token: int
    #: The prediction network's state before that token.
    predictor_state: Any
    #: Cache of the network for that token; None after each emission.
    prediction: Prediction | None = None


class JointOutput(Protocol):
    """The scores of some frames of several lanes; values beyond the frames of a lane are undefined."""

    @property
    def best_tokens(self) -> Sequence[Sequence[int]]:
        """The likeliest token or the blank, by lane and frame."""

    @property
    def durations(self) -> Sequence[Sequence[int]]:
        """The duration of that token in frames, by lane and frame; 0 if the model predicts no durations."""

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the likeliest token among all tokens and the blank."""

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""

    def get_predictor_state(self, lane: int) -> object:
        """Return the prediction network's state after the lane's last token."""


class TransducerNetwork(Protocol):
    """The prediction network and the joint network of a transducer."""

    def build_initial_state(self) -> object:
        """Return the prediction network's state before the first token."""

    def score_frames(self, frames: Sequence[EncoderFrames], lanes: Sequence[DecoderLane]) -> JointOutput:
        """Return the scores of the next frames of each lane, given its last token.

        Args:
            frames: At least one frame for each lane.
            lanes: The lanes; the network may write ``prediction``.
        """


class Bias(Protocol):
    """Hotwords of one lane."""

    def build_search(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> GreedySearch:
        """Return a search that favours the hotwords."""


class Transducer:
    """Decodes greedily (implements ``TokenDecoder``).

    Args:
        network: The networks.
        blank: The number of the blank; it follows the last token.
        lookahead: The most frames of a lane that one step scores.
        max_symbols: The most tokens at one frame.
        allow_batching: Whether a step may score several lanes and frames; if not, one frame of one lane.
    """

    can_bias = True

    def __init__(
        self,
        network: TransducerNetwork,
        blank: int,
        *,
        lookahead: int = LOOKAHEAD["tdt"],
        max_symbols: int = MAX_SYMBOLS,
        allow_batching: bool = True,
    ) -> None:
        self._network, self._blank = network, blank
        self._lookahead = lookahead if allow_batching else 1
        self._max_symbols, self._allow_batching = max_symbols, allow_batching
        self.initial_state = TransducerState(blank, network.build_initial_state())

    def decode(
        self,
        lane_frames: Sequence[EncoderFrames],
        states: Sequence[TransducerState],
        biases: Sequence[Bias | None] | None = None,
    ) -> list[tuple[list[EmittedToken], TransducerState]]:
        """Return the tokens of each lane, and its state after its last frame.

        Args:
            lane_frames: The encoder frames of each lane, shape ``(frames, width)``.
            states: The state of each lane before its first frame.
            biases: The hotwords of each lane, or None.
        """
        searches = [
            GreedySearch(frames, state, self._max_symbols)
            if bias is None
            else bias.build_search(frames, state, self._max_symbols)
            for frames, state, bias in zip(
                lane_frames, states, biases or [None] * len(lane_frames), strict=True
            )
        ]
        if self._allow_batching:
            self._run_searches(searches)
        else:
            for search in searches:
                self._run_searches([search])
        return [(search.emitted_tokens, search.to_state()) for search in searches]

    def skip_frames(self, state: TransducerState, count: int) -> TransducerState:
        """Return the state after ``count`` frames that are not decoded."""
        return replace(state, frames_to_skip=max(0, state.frames_to_skip - count))

    def _limit_lookahead(self, lane_count: int) -> int:  # noqa: ARG002  # for subclasses
        """Return the most frames of a lane that a step with so many lanes scores."""
        return self._lookahead

    def _run_searches(self, searches: Sequence[GreedySearch]) -> None:
        active = [search for search in searches if not search.is_finished()]
        while active:
            self._advance_searches(active)
            active = [search for search in active if not search.is_finished()]

    def _advance_searches(self, searches: Sequence[GreedySearch]) -> None:
        lookahead = self._limit_lookahead(len(searches))
        joint_output = self._network.score_frames(
            [search.get_next_frames(lookahead) for search in searches], [search.lane for search in searches]
        )
        for lane, (search, tokens, durations) in enumerate(
            zip(searches, joint_output.best_tokens, joint_output.durations, strict=True)
        ):
            offset = search.skip_blanks(tokens, durations, self._blank)
            if offset is not None:
                search.emit_best_token(joint_output, lane, offset)


class GreedySearch:
    """The greedy search through the frames of one lane.

    Args:
        frames: The encoder frames of the lane.
        state: The state before the first frame.
        max_symbols: The most tokens at one frame.
    """

    def __init__(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> None:
        self._frames, self._end = frames, len(frames)
        self._position = state.frames_to_skip
        self.lane = DecoderLane(state.last_token, state.predictor_state)
        self.emitted_tokens: list[EmittedToken] = []
        self._max_symbols = max_symbols
        self._symbols_at_frame = 0

    def is_finished(self) -> bool:
        """Return whether all frames are decoded."""
        return self._position >= self._end

    def to_state(self) -> TransducerState:
        """Return the state after the last frame."""
        return TransducerState(self.lane.last_token, self.lane.predictor_state, self._position - self._end)

    def get_next_frames(self, max_frames: int) -> EncoderFrames:
        """Return the next frames to score."""
        frames: EncoderFrames = self._frames[self._position : min(self._position + max_frames, self._end)]
        return frames

    def skip_blanks(self, tokens: Sequence[int], durations: Sequence[int], blank: int) -> int | None:
        """Move past leading blanks, and return the offset of the first token, or None if there is none."""
        start = self._position
        while self._position < self._end and (offset := self._position - start) < len(tokens):
            if tokens[offset] != blank:
                return offset
            self._position += max(durations[offset], 1)
            self._symbols_at_frame = 0
        return None

    def emit_best_token(self, joint_output: JointOutput, lane: int, offset: int) -> None:
        """Emit the likeliest token at ``offset``."""
        self.emit_token(
            joint_output.best_tokens[lane][offset],
            joint_output.durations[lane][offset],
            joint_output.get_probability(lane, offset),
            joint_output.get_predictor_state(lane),
        )

    def emit_token(self, token: int, duration: int, probability: float, predictor_state: object) -> None:
        """Emit a token and move past its duration."""
        self.emitted_tokens.append(EmittedToken(token, self._position, duration, probability))
        self.lane.last_token, self.lane.predictor_state, self.lane.prediction = token, predictor_state, None
        self._symbols_at_frame += 1
        if duration or self._symbols_at_frame >= self._max_symbols:
            self._position += max(duration, 1)
            self._symbols_at_frame = 0


class BaseJointOutput(ABC):
    """The parts of a ``JointOutput`` that do not depend on the array library.

    Args:
        best_tokens: The likeliest token or the blank, by lane and frame.
        durations: The duration of that token in frames, by lane and frame.
        get_predictor_state: Returns the prediction network's state after a lane's last token.
    """

    def __init__(
        self,
        best_tokens: list[list[int]],
        durations: list[list[int]],
        get_predictor_state: Callable[[int], object],
    ) -> None:
        self.best_tokens, self.durations = best_tokens, durations
        self.get_predictor_state = get_predictor_state

    @abstractmethod
    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the likeliest token among all tokens and the blank."""
        return compute_probability(self.get_scores(lane, frame), self.best_tokens[lane][frame])


class LogitsJointOutput(BaseJointOutput):
    """A joint output in numpy.

    Args:
        logits: float32, shape ``(lanes, frames, tokens + blank + durations)``.
        blank: The number of the blank; it follows the last token, and the durations follow the blank.
        duration_values: Frames of each duration output; empty for an RNNT.
        get_predictor_state: Returns the prediction network's state after a lane's last token.
    """

    def __init__(
        self,
        logits: NDArray[np.float32],
        blank: int,
        duration_values: Sequence[int],
        get_predictor_state: Callable[[int], object],
    ) -> None:
        self._scores = logits[:, :, : blank + 1]
        duration_logits = logits[:, :, blank + 1 :]
        super().__init__(
            self._scores.argmax(axis=2).tolist(),
            decode_durations(duration_logits.argmax(axis=2), duration_values)
            if duration_values
            else [[0] * logits.shape[1]] * logits.shape[0],
            get_predictor_state,
        )

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""
        scores: NDArray[np.float32] = self._scores[lane, frame]
        return scores


class CachingNetwork(ABC):
    """Base of networks that run the prediction network only for lanes with a new token.

    The output stays in ``DecoderLane.prediction`` until the next token; all lanes run through the joint
    network together.
    """

    def score_frames(self, frames: Sequence[EncoderFrames], lanes: Sequence[DecoderLane]) -> JointOutput:
        """Return the scores of the next frames of each lane, given its last token."""
        if new := [lane for lane in lanes if lane.prediction is None]:
            for lane, prediction in zip(new, self._predict(new), strict=True):
                lane.prediction = prediction
        predictions = [lane.prediction for lane in lanes if lane.prediction is not None]
        return self._join(frames, predictions)

    @abstractmethod
    def _predict(self, lanes: Sequence[DecoderLane]) -> Sequence[Prediction]:
        """Return the output of the prediction network for the last token of each lane."""

    @abstractmethod
    def _join(self, frames: Sequence[EncoderFrames], predictions: Sequence[Prediction]) -> JointOutput:
        """Return the scores of the joint network for the frames of each lane with its prediction."""


def compute_probability(scores: NDArray[np.float32], token: int) -> float:
    """Return the probability, 0..1, of a token by softmax.

    Args:
        scores: Log-probabilities up to a common constant, float32, shape ``(tokens + blank,)``.
        token: The number of the token.
    """
    return float(1.0 / np.exp(scores - scores[token]).sum())


def decode_durations(choices: NDArray[np.integer[Any]], duration_values: Sequence[int]) -> list[list[int]]:
    """Return the durations in frames for chosen duration outputs.

    Args:
        choices: Numbers of duration outputs, shape ``(lanes, frames)``.
        duration_values: Frames of each duration output.
    """
    durations: list[list[int]] = np.asarray(duration_values)[choices].tolist()
    return durations


def stack_frames(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the frames of several lanes, shape ``(lanes, longest, width)``, padded with zeros."""
    longest = max(len(lane) for lane in frames)
    if all(len(lane) == longest for lane in frames):
        return np.stack(frames)
    padded = np.zeros((len(frames), longest, frames[0].shape[1]), np.float32)
    for row, lane in zip(padded, frames, strict=True):
        row[: len(lane)] = lane
    return padded

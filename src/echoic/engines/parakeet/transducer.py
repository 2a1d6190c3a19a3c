"""Greedy decoding of a transducer (TDT or RNNT) over encoder frames, for many lanes, from a carried state.

Each step asks the network about all lanes that are not done: for each of them the next few frames, all from
the lane's present state. A blank leaves the state as it is, so what the network says of later frames holds
until a token is emitted: a lane needs a step for each token and one for each run of frames without, not one
for each frame. What the prediction network makes of a token is kept with the lane until the next token.
Sources: Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations",
https://arxiv.org/abs/2304.06795; Bataev et al., "Label-Looping", https://arxiv.org/abs/2406.06220.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.decoder import EmittedToken, EncoderFrames

#: Tokens at one frame after which the next frame is taken. Source: NeMo's greedy decoding.
MAX_SYMBOLS = 10
#: Frames of a lane that one step asks about: a TDT passes over blanks by itself, an RNNT has one at most
#: frames.
LOOKAHEAD = {"tdt": 2, "rnnt": 8}


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """Where a lane stands: all that the next frames need to know of those before.

    Attributes:
        last_token: The last token, or the blank at a start.
        predictor_state: The prediction network's state before that token, as the network holds it.
        frames_to_skip: Frames still to be passed over: the last duration reached so far beyond the end.
        bias_state: What was said of terms that are listened for (``hotwords``), or None.
    """

    last_token: int
    predictor_state: object
    frames_to_skip: int = 0
    bias_state: object = None


@dataclass(slots=True, eq=False)
class DecoderLane:
    """What the network is told of a lane.

    Attributes:
        last_token: The last token, or the blank at a start.
        predictor_state: The prediction network's state before that token.
        prediction: What the network itself keeps of that token; None after each emission.
    """

    last_token: int
    predictor_state: object
    prediction: object = None


class JointOutput(Protocol):
    """What the network says of the frames of some lanes; a lane's frames beyond its own mean nothing."""

    @property
    def best_tokens(self) -> Sequence[Sequence[int]]:
        """For each lane and frame the likeliest token, or the blank."""

    @property
    def durations(self) -> Sequence[Sequence[int]]:
        """For each lane and frame how many frames that lasts; 0 where the network does not say."""

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of that token among all tokens and the blank."""

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there: log-probabilities but for a common summand."""

    def get_predictor_state(self, lane: int) -> object:
        """Return the prediction network's state after the lane's token."""


class TransducerNetwork(Protocol):
    """Prediction network and joint network of a transducer."""

    def build_initial_state(self) -> object:
        """Return the prediction network's state before anything was said."""

    def score_frames(self, frames: Sequence[EncoderFrames], lanes: Sequence[DecoderLane]) -> JointOutput:
        """Return what the frames of each lane say after its token.

        Args:
            frames: For each lane one frame at least.
            lanes: Where each stands; ``prediction`` may be written.
        """


class Bias(Protocol):
    """What a lane listens for."""

    def build_search(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> GreedySearch:
        """Return the lane's walk through its frames."""


class Transducer:
    """Decodes greedily (``decoder.Decoder``).

    Args:
        network: The networks.
        blank: The blank's number; it follows the last token.
        lookahead: The most frames of a lane that one step asks about.
        max_symbols: Tokens at one frame after which the next frame is taken.
        allow_batching: False: each lane, and each frame, is asked about by itself.
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
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lane_frames: Shape ``(frames, width)`` each.
            states: Where each lane stands before its first frame.
            biases: What each listens for; None: nothing.
        """
        walks = [
            GreedySearch(frames, state, self._max_symbols)
            if favour is None
            else favour.build_search(frames, state, self._max_symbols)
            for frames, state, favour in zip(
                lane_frames, states, biases or [None] * len(lane_frames), strict=True
            )
        ]
        if self._allow_batching:
            self._run_searches(walks)
        else:
            for walk in walks:
                self._run_searches([walk])
        return [(walk.emitted_tokens, walk.to_state()) for walk in walks]

    def skip_frames(self, state: TransducerState, count: int) -> TransducerState:
        """Return the state after frames that nobody looked at."""
        return replace(state, frames_to_skip=max(0, state.frames_to_skip - count))

    def _limit_lookahead(self, lane_count: int) -> int:  # noqa: ARG002  # a network may look less far for many lanes
        """Return the most frames of a lane that a step with so many lanes asks about."""
        return self._lookahead

    def _run_searches(self, searches: Sequence[GreedySearch]) -> None:
        active = [walk for walk in searches if not walk.is_finished()]
        while active:
            self._advance_searches(active)
            active = [walk for walk in active if not walk.is_finished()]

    def _advance_searches(self, searches: Sequence[GreedySearch]) -> None:
        most = self._limit_lookahead(len(searches))
        verdict = self._network.score_frames(
            [walk.get_next_frames(most) for walk in searches], [walk.lane for walk in searches]
        )
        for number, (walk, said, lasts) in enumerate(
            zip(searches, verdict.best_tokens, verdict.durations, strict=True)
        ):
            offset = walk.skip_blanks(said, lasts, self._blank)
            if offset is not None:
                walk.emit_best_token(verdict, number, offset)


class GreedySearch:
    """One lane on its way through its frames.

    Args:
        frames: The lane's.
        to_state: Where it stands before them.
        max_symbols: As in ``Transducer``.
    """

    def __init__(self, frames: EncoderFrames, state: TransducerState, max_symbols: int) -> None:
        self._frames, self._end = frames, len(frames)
        self._position = state.frames_to_skip
        self.lane = DecoderLane(state.last_token, state.predictor_state)
        self.emitted_tokens: list[EmittedToken] = []
        self._max_symbols = max_symbols
        self._symbols_at_frame = 0

    def is_finished(self) -> bool:
        """Return whether it is over."""
        return self._position >= self._end

    def to_state(self) -> TransducerState:
        """Return where it stands after its last frame."""
        return TransducerState(self.lane.last_token, self.lane.predictor_state, self._position - self._end)

    def get_next_frames(self, max_frames: int) -> EncoderFrames:
        """Return the frames that are to be asked about."""
        frames: EncoderFrames = self._frames[self._position : min(self._position + max_frames, self._end)]
        return frames

    def skip_blanks(self, tokens: Sequence[int], durations: Sequence[int], blank: int) -> int | None:
        """Go on past blanks; return the offset of the first token, or None: there is none so far."""
        start = self._position
        while self._position < self._end and (offset := self._position - start) < len(tokens):
            if tokens[offset] != blank:
                return offset
            self._position += max(durations[offset], 1)
            self._symbols_at_frame = 0
        return None

    def emit_best_token(self, joint_output: JointOutput, lane: int, offset: int) -> None:
        """Emit the likeliest token."""
        self.emit_token(
            joint_output.best_tokens[lane][offset],
            joint_output.durations[lane][offset],
            joint_output.get_probability(lane, offset),
            joint_output.get_predictor_state(lane),
        )

    def emit_token(self, token: int, duration: int, probability: float, predictor_state: object) -> None:
        """Go on behind a token."""
        self.emitted_tokens.append(EmittedToken(token, self._position, duration, probability))
        self.lane.last_token, self.lane.predictor_state, self.lane.prediction = token, predictor_state, None
        self._symbols_at_frame += 1
        if duration or self._symbols_at_frame >= self._max_symbols:
            self._position += max(duration, 1)
            self._symbols_at_frame = 0


class LogitsJointOutput:
    """A verdict read from logits in numpy (``JointOutput``).

    Args:
        logits: float32, shape ``(lanes, frames, tokens + blank + durations)``.
        blank: The blank's number; it follows the last token, and the durations follow it.
        durations: Frames that each duration means; none: an RNNT, which says nothing of durations.
        get_predictor_state: Returns a lane's memory after its token.
    """

    def __init__(
        self,
        logits: NDArray[np.float32],
        blank: int,
        durations: Sequence[int],
        get_predictor_state: Callable[[int], object],
    ) -> None:
        self._scores = logits[:, :, : blank + 1]
        self.best_tokens: list[list[int]] = self._scores.argmax(axis=2).tolist()
        if durations:
            choices = logits[:, :, blank + 1 :].argmax(axis=2)
            self.durations: list[list[int]] = np.asarray(durations)[choices].tolist()
        else:
            self.durations = [[0] * logits.shape[1]] * logits.shape[0]
        self.get_predictor_state = get_predictor_state

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        scores = self._scores[lane, frame]
        return float(1.0 / np.exp(scores - scores[self.best_tokens[lane][frame]]).sum())

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        scores: NDArray[np.float32] = self._scores[lane, frame]
        return scores


def stack_frames(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return several lanes' frames together, shape ``(lanes, most, width)``, zeros after a lane's own."""
    most = max(len(one) for one in frames)
    if all(len(one) == most for one in frames):
        return np.stack(frames)
    padded = np.zeros((len(frames), most, frames[0].shape[1]), np.float32)
    for place, one in zip(padded, frames, strict=True):
        place[: len(one)] = one
    return padded

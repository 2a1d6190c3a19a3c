"""The interface of token decoders over encoder frames, and greedy decoding of a CTC head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Encoder frames of one window, shape ``(frames, width)``, in the array type of the backend.
EncoderFrames: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class EmittedToken:
    """A token with its place in a lane."""

    #: The number in the vocabulary.
    token_id: int
    #: The frame of the lane at which the token was emitted.
    frame: int
    #: The duration in frames; 0 if the model predicts no durations.
    duration_frames: int
    #: The probability, 0..1, among all tokens and the blank.
    probability: float


class TokenDecoder(Protocol):
    """Decodes greedily, many lanes at once, each from its own state.

    A *lane* is the frames of one window. A *state* is what the decoder must know of earlier frames to
    continue; it is opaque to all other code.
    """

    @property
    def can_bias(self) -> bool:
        """Whether the decoder supports hotwords; if not, ``biases`` in ``decode`` are ignored."""

    @property
    def initial_state(self) -> Any:  # noqa: ANN401  # each decoder's own
        """The state before the first frame."""

    def decode(
        self,
        lane_frames: Sequence[EncoderFrames],
        states: Sequence[Any],
        biases: Sequence[Any] | None = None,
    ) -> Sequence[tuple[list[EmittedToken], Any]]:
        """Return the tokens of each lane, and its state after its last frame.

        Args:
            lane_frames: The frames of each lane.
            states: The state of each lane before its first frame.
            biases: The hotwords of each lane, or None; a lane with hotwords may have frames after its end.
        """

    def skip_frames(self, state: Any, count: int) -> Any:  # noqa: ANN401  # each decoder's own
        """Return the state after ``count`` frames that are not decoded."""


class _TokenRun(NamedTuple):
    """Consecutive frames with the same token."""

    token: int
    first_frame: int
    frame_count: int


class CtcDecoder:
    """Decodes a CTC head greedily (implements ``TokenDecoder``); a state is the token of the last frame.

    Args:
        blank: The number of the blank; it follows the last token.
    """

    can_bias = False

    def __init__(self, blank: int) -> None:
        self._blank = blank
        self.initial_state = blank

    def decode(
        self,
        lane_frames: Sequence[NDArray[np.float32]],
        states: Sequence[int],
        biases: Sequence[None] | None = None,  # noqa: ARG002  # unsupported
    ) -> list[tuple[list[EmittedToken], int]]:
        """Return the tokens of each lane, and the token of its last frame.

        A token that continues from the frame before the lane is not emitted again.

        Args:
            lane_frames: The log-probabilities of each lane, float32, shape ``(frames, tokens + blank)``.
            states: The token of the frame before each lane.
            biases: Ignored.
        """
        return [self._decode_lane(*lane) for lane in zip(lane_frames, states, strict=True)]

    def skip_frames(self, state: int, count: int) -> int:
        """Return the state after ``count`` frames that are not decoded: a blank, if there are any."""
        return self._blank if count > 0 else state

    def _decode_lane(
        self, frames: NDArray[np.float32], previous_token: int
    ) -> tuple[list[EmittedToken], int]:
        if not len(frames):
            return [], previous_token
        best = np.asarray(frames).argmax(axis=1).tolist()
        tokens = [
            EmittedToken(run.token, run.first_frame, run.frame_count, self._compute_probability(frames, run))
            for run in _group_runs(best)
            if run.token != self._blank and not (run.first_frame == 0 and run.token == previous_token)
        ]
        return tokens, best[-1]

    def _compute_probability(self, frames: NDArray[np.float32], run: _TokenRun) -> float:
        log_probabilities = np.asarray(frames[run.first_frame : run.first_frame + run.frame_count])
        return float(np.exp(log_probabilities[:, run.token].max()))


def _group_runs(tokens: Sequence[int]) -> list[_TokenRun]:
    runs, first = [], 0
    for token, group in groupby(tokens):
        size = sum(1 for _ in group)
        runs.append(_TokenRun(token, first, size))
        first += size
    return runs

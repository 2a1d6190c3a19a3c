"""What turns encoder frames into tokens, whichever head a Parakeet has: the Protocol and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Encoder frames of one window, shape ``(frames, width)``, in the array type of whoever computes them.
EncoderFrames: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class EmittedToken:
    """A token that was emitted.

    Attributes:
        token_id: Its number in the vocabulary.
        frame: The lane's frame at which it was emitted.
        duration_frames: Frames it lasts; 0 where the network does not say.
        probability: 0..1 among all tokens and the blank.
    """

    token_id: int
    frame: int
    duration_frames: int
    probability: float


class TokenDecoder(Protocol):
    """Decodes greedily, many lanes at once, each from where it stood.

    A *lane* is one window's frames; a *state* is all that its next frames need to know of those before, and
    nobody but the decoder looks into it.
    """

    @property
    def can_bias(self) -> bool:
        """Whether it can listen for terms; else ``favours`` in ``decode`` mean nothing."""

    @property
    def initial_state(self) -> Any:  # noqa: ANN401  # each decoder's own
        """The state of a lane that has heard nothing."""

    def decode(
        self,
        lane_frames: Sequence[EncoderFrames],
        states: Sequence[Any],
        biases: Sequence[Any] | None = None,
    ) -> Sequence[tuple[list[EmittedToken], Any]]:
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lane_frames: Their frames.
            states: Where each stands before its first frame.
            biases: What each listens for, or None; with it a lane has its edge, and frames after that.
        """

    def skip_frames(self, state: Any, count: int) -> Any:  # noqa: ANN401  # each decoder's own
        """Return the state after frames that nobody looked at."""


class _TokenRun(NamedTuple):
    """Frames one after the other with the same token."""

    token: int
    first_frame: int
    frame_count: int


class CtcDecoder:
    """Decodes greedily (``decoder.Decoder``); a state is the number of the last frame's token.

    Args:
        blank: The blank's number; it follows the last token.
    """

    can_bias = False

    def __init__(self, blank: int) -> None:
        self._blank = blank
        self.initial_state = blank

    def decode(
        self,
        lane_frames: Sequence[NDArray[np.float32]],
        states: Sequence[int],
        biases: Sequence[None] | None = None,  # noqa: ARG002  # it cannot
    ) -> list[tuple[list[EmittedToken], int]]:
        """Return the tokens of each lane and the last frame's token.

        A token that goes on from the frame before the lane was said then.

        Args:
            lane_frames: Log-probabilities, float32, shape ``(frames, tokens + blank)`` each.
            states: The token of the frame before each lane's first.
            biases: Nothing.
        """
        return [self._decode_lane(*lane) for lane in zip(lane_frames, states, strict=True)]

    def skip_frames(self, state: int, count: int) -> int:
        """Return the state after frames that nobody looked at: a blank, if there were any."""
        return self._blank if count > 0 else state

    def _decode_lane(
        self, frames: NDArray[np.float32], previous_token: int
    ) -> tuple[list[EmittedToken], int]:
        if not len(frames):
            return [], previous_token
        best = np.asarray(frames).argmax(axis=1).tolist()
        emissions = [
            EmittedToken(run.token, run.first_frame, run.frame_count, self._compute_probability(frames, run))
            for run in _group_runs(best)
            if run.token != self._blank and not (run.first_frame == 0 and run.token == previous_token)
        ]
        return emissions, best[-1]

    def _compute_probability(self, frames: NDArray[np.float32], run: _TokenRun) -> float:
        return float(
            np.exp(
                np.asarray(frames[run.first_frame : run.first_frame + run.frame_count])[:, run.token].max()
            )
        )


def _group_runs(tokens: Sequence[int]) -> list[_TokenRun]:
    runs, first = [], 0
    for token, group in groupby(tokens):
        size = sum(1 for _ in group)
        runs.append(_TokenRun(token, first, size))
        first += size
    return runs

"""Greedy decoding of a CTC head over frames of log-probabilities, from a carried state.

The likeliest token of each frame; the same token in frames that follow each other is one token, and the blank
between them makes it two. All that a frame needs to know of those before it is the last one's token.
Source: Graves et al., "Connectionist Temporal Classification", ICML 2006.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from echoic.engines.decoder import EmittedToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


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

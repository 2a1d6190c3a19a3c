"""Greedy decoding of a CTC head over frames of log-probabilities, from a carried state.

The likeliest token of each frame; the same token in frames that follow each other is one token, and the blank
between them makes it two. All that a frame needs to know of those before it is the last one's token.
Source: Graves et al., "Connectionist Temporal Classification", ICML 2006.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from echoic.engines.decoder import Emission

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class _Run(NamedTuple):
    """Frames one after the other with the same token."""

    token: int
    first: int
    size: int


class Ctc:
    """Decodes greedily (``decoder.Decoder``); a state is the number of the last frame's token.

    Args:
        blank: The blank's number; it follows the last token.
    """

    favours = False

    def __init__(self, blank: int) -> None:
        self._blank = blank
        self.start = blank

    def decode(
        self,
        lanes: Sequence[NDArray[np.float32]],
        states: Sequence[int],
        favours: Sequence[None] | None = None,  # noqa: ARG002  # it cannot
    ) -> list[tuple[list[Emission], int]]:
        """Return the tokens of each lane and the last frame's token.

        A token that goes on from the frame before the lane was said then.

        Args:
            lanes: Log-probabilities, float32, shape ``(frames, tokens + blank)`` each.
            states: The token of the frame before each lane's first.
            favours: Nothing.
        """
        return [self._decode(*lane) for lane in zip(lanes, states, strict=True)]

    def passed(self, state: int, frames: int) -> int:
        """Return the state after frames that nobody looked at: a blank, if there were any."""
        return self._blank if frames > 0 else state

    def _decode(self, frames: NDArray[np.float32], before: int) -> tuple[list[Emission], int]:
        if not len(frames):
            return [], before
        best = np.asarray(frames).argmax(axis=1).tolist()
        emissions = [
            Emission(run.token, run.first, run.size, self._probability(frames, run))
            for run in _runs(best)
            if run.token != self._blank and not (run.first == 0 and run.token == before)
        ]
        return emissions, best[-1]

    def _probability(self, frames: NDArray[np.float32], run: _Run) -> float:
        return float(np.exp(np.asarray(frames[run.first : run.first + run.size])[:, run.token].max()))


def _runs(tokens: Sequence[int]) -> list[_Run]:
    runs, first = [], 0
    for token, group in groupby(tokens):
        size = sum(1 for _ in group)
        runs.append(_Run(token, first, size))
        first += size
    return runs

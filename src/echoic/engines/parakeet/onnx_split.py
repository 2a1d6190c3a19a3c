"""Decodes with networks that ``echoic models optimize`` split into three graphs (``optimize.split``).

The projection of the encoder frames runs once per window, the prediction network once per token, and the
joint network on the frames of each step. The predictor state of a lane is one row of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.decoder import EmittedToken
from echoic.engines.parakeet.transducer import (
    BaseJointOutput,
    Bias,
    CachingNetwork,
    DecoderLane,
    Prediction,
    Transducer,
    TransducerState,
)

if TYPE_CHECKING:
    import onnxruntime as ort

#: Rows per frame of lookahead that one step of the joint network may have.
_ROWS_PER_FRAME = 3
#: Inputs and outputs of each graph, by the stem of its file name without ``-model``.
SPLIT_INTERFACES = {
    "projection": ({"frames"}, {"heard"}),
    "prediction": ({"tokens", "memory"}, {"predicted", "after"}),
    "joint": ({"heard", "predicted"}, {"scores", "certain"}),
}


@dataclass(frozen=True, slots=True)
class SplitSessions:
    """The three loaded graphs."""

    projection: ort.InferenceSession
    prediction: ort.InferenceSession
    joint: ort.InferenceSession

    @property
    def frame_width(self) -> int:
        """Values per encoder frame."""
        return int(self.projection.get_inputs()[0].shape[1])

    @property
    def output_count(self) -> int:
        """Outputs of the joint network: tokens, the blank, and durations."""
        sizes = {output.name: output.shape[-1] for output in self.joint.get_outputs()}
        return int(sizes["scores"]) + int(sizes.get("durations", 0))


class SplitTransducer(Transducer):
    """Decodes greedily with split networks (implements ``TokenDecoder``).

    Args:
        sessions: The networks.
        blank: The number of the blank; it follows the last token.
        lookahead: The most frames of a lane that one step scores.
        max_symbols: The most tokens at one frame.
    """

    def __init__(self, sessions: SplitSessions, blank: int, *, lookahead: int, max_symbols: int) -> None:
        super().__init__(_SplitNetwork(sessions), blank, lookahead=lookahead, max_symbols=max_symbols)
        self._projection = sessions.projection

    def decode(
        self,
        lane_frames: Sequence[NDArray[np.float32]],
        states: Sequence[TransducerState],
        biases: Sequence[Bias | None] | None = None,
    ) -> list[tuple[list[EmittedToken], TransducerState]]:
        """Return the tokens of each lane, and its state after its last frame.

        Args:
            lane_frames: The encoder frames of each lane, float32, shape ``(frames, width)``.
            states: The state of each lane before its first frame.
            biases: The hotwords of each lane, or None.
        """
        if not any(map(len, lane_frames)):
            return super().decode(lane_frames, states, biases)
        frames = np.concatenate([lane for lane in lane_frames if len(lane)])
        (projected,) = self._projection.run(["heard"], {"frames": frames})
        edges = accumulate(map(len, lane_frames), initial=0)
        return super().decode([projected[start:end] for start, end in pairwise(edges)], states, biases)

    def _limit_lookahead(self, lane_count: int) -> int:
        # Up to six rows cost the joint network little more than one. From then on each row costs its share,
        # and the rows after a token are discarded.
        return max(1, min(self._lookahead, _ROWS_PER_FRAME * self._lookahead // lane_count))


class _SplitNetwork(CachingNetwork):
    """The prediction network and the joint network; frames are projected already."""

    def __init__(self, sessions: SplitSessions) -> None:
        self._prediction, self._joint = sessions.prediction, sessions.joint
        (size,) = (one.shape[1] for one in sessions.prediction.get_inputs() if one.name == "memory")
        self._state_size = int(size)
        names = [output.name for output in sessions.joint.get_outputs()]
        self._output_names = ["scores", "certain", *(["durations"] if "durations" in names else [])]

    def build_initial_state(self) -> NDArray[np.float32]:
        """Return a row of zeros."""
        return np.zeros(self._state_size, np.float32)

    def _predict(self, lanes: Sequence[DecoderLane]) -> list[Prediction]:
        feed = {
            "tokens": np.array([lane.last_token for lane in lanes], np.int64),
            "memory": np.array([lane.predictor_state for lane in lanes]),
        }
        return [
            Prediction(projected, state)
            for projected, state in zip(*self._prediction.run(["predicted", "after"], feed), strict=True)
        ]

    def _join(
        self, frames: Sequence[NDArray[np.float32]], predictions: Sequence[Prediction]
    ) -> _SplitJointOutput:
        counts = [len(lane) for lane in frames]
        rows = [
            prediction.projected
            for prediction, count in zip(predictions, counts, strict=True)
            for _ in range(count)
        ]
        feed = {"heard": np.concatenate(frames), "predicted": np.array(rows)}
        scores, probabilities, *durations = self._joint.run(self._output_names, feed)
        best = scores.argmax(axis=1).tolist()
        lasting = durations[0].argmax(axis=1).tolist() if durations else [0] * len(best)
        return _SplitJointOutput((best, lasting, scores, probabilities), counts, predictions)


class _SplitJointOutput(BaseJointOutput):
    """The output of a joint network that scores all frames of all lanes as rows of one array.

    Args:
        rows: The likeliest token, its duration, the scores and the probability of each row.
        counts: Frames of each lane.
        predictions: The prediction of each lane.
    """

    def __init__(
        self,
        rows: tuple[list[int], list[int], NDArray[np.float32], NDArray[np.float32]],
        counts: Sequence[int],
        predictions: Sequence[Prediction],
    ) -> None:
        best, lasting, self._scores, self._probabilities = rows
        self._row_offsets = list(accumulate(counts, initial=0))
        super().__init__(
            [best[start:end] for start, end in pairwise(self._row_offsets)],
            [lasting[start:end] for start, end in pairwise(self._row_offsets)],
            lambda lane: predictions[lane].predictor_state,
        )

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the likeliest token, as the graph computes it."""
        return float(self._probabilities[self._row_offsets[lane] + frame])

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""
        scores: NDArray[np.float32] = self._scores[self._row_offsets[lane] + frame]
        return scores

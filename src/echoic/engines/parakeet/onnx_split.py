"""Decoding networks that ``echoic models optimize`` cut in three (``optimize_cut``), by onnxruntime.

The projection of encoder frames runs once a window, the prediction network only after a token, and the joint
network on just the frames that are looked at. A lane's memory is one row of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.decoder import EmittedToken
from echoic.engines.parakeet.transducer import Bias, DecoderLane, Transducer, TransducerState

if TYPE_CHECKING:
    import onnxruntime as ort

#: Rows of the joint network that a step may fill, for each frame that a lane may look ahead.
_ROWS_PER_FRAME = 3
#: What each graph takes and gives, by the stem of its file's name without ``-model``.
SPLIT_INTERFACES = {
    "projection": ({"frames"}, {"heard"}),
    "prediction": ({"tokens", "memory"}, {"predicted", "after"}),
    "joint": ({"heard", "predicted"}, {"scores", "certain"}),
}


@dataclass(frozen=True, slots=True)
class SplitSessions:
    """The three graphs, loaded."""

    projection: ort.InferenceSession
    prediction: ort.InferenceSession
    joint: ort.InferenceSession

    @property
    def frame_width(self) -> int:
        """Values of an encoder's frame."""
        return int(self.projection.get_inputs()[0].shape[1])

    @property
    def output_count(self) -> int:
        """Tokens, the blank, and durations."""
        sizes = {one.name: one.shape[-1] for one in self.joint.get_outputs()}
        return int(sizes["scores"]) + int(sizes.get("durations", 0))


class SplitTransducer(Transducer):
    """Decodes greedily by networks that were cut (``decoder.Decoder``).

    Args:
        sessions: The networks.
        blank: The blank's number; it follows the last token.
        lookahead: The most frames of a lane that one step asks about.
        max_symbols: Tokens at one frame after which the next frame is taken.
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
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lane_frames: float32, shape ``(frames, width)`` each.
            states: Where each lane stands before its first frame.
            biases: What each listens for; None: nothing.
        """
        if not any(map(len, lane_frames)):
            return super().decode(lane_frames, states, biases)
        every = np.concatenate([lane for lane in lane_frames if len(lane)])
        (heard,) = self._projection.run(["heard"], {"frames": every})
        edges = accumulate(map(len, lane_frames), initial=0)
        return super().decode([heard[first:end] for first, end in pairwise(edges)], states, biases)

    def _limit_lookahead(self, lane_count: int) -> int:
        # Up to six rows cost the joint network little more than one; from then on each costs its share, and
        # what was looked at behind a token is thrown away.
        return max(1, min(self._lookahead, _ROWS_PER_FRAME * self._lookahead // lane_count))


class _SplitNetwork:
    """Prediction network and joint network (``transducer.Network``); frames are projected ones."""

    def __init__(self, sessions: SplitSessions) -> None:
        self._prediction, self._joint = sessions.prediction, sessions.joint
        (size,) = (one.shape[1] for one in sessions.prediction.get_inputs() if one.name == "memory")
        self._state_size = int(size)
        names = [one.name for one in sessions.joint.get_outputs()]
        self._output_names = ["scores", "certain", *(["durations"] if "durations" in names else [])]

    def build_initial_state(self) -> NDArray[np.float32]:
        """Return zeros: a row."""
        return np.zeros(self._state_size, np.float32)

    def score_frames(
        self, frames: Sequence[NDArray[np.float32]], lanes: Sequence[DecoderLane]
    ) -> _SplitJointOutput:
        """Return what the frames of each lane say after its token."""
        self._update_predictions([lane for lane in lanes if lane.prediction is None])
        ahead: list[_SplitPrediction] = [lane.prediction for lane in lanes]  # type: ignore[misc]  # ``_predict`` wrote it
        counts = [len(one) for one in frames]
        feed = {
            "heard": np.concatenate(frames),
            "predicted": np.array(
                [one[0] for one, count in zip(ahead, counts, strict=True) for _ in range(count)]
            ),
        }
        scores, certain, *durations = self._joint.run(self._output_names, feed)
        tokens = scores.argmax(axis=1).tolist()
        lasts = durations[0].argmax(axis=1).tolist() if durations else [0] * len(tokens)
        return _SplitJointOutput(counts, tokens, lasts, (scores, certain), ahead)

    def _update_predictions(self, lanes: Sequence[DecoderLane]) -> None:
        if not lanes:
            return
        feed = {
            "tokens": np.array([lane.last_token for lane in lanes], np.int64),
            "memory": np.array([lane.predictor_state for lane in lanes]),
        }
        for lane, predicted, after in zip(
            lanes, *self._prediction.run(["predicted", "after"], feed), strict=True
        ):
            lane.prediction = (predicted, after)


#: What the prediction network says after a token, and its memory then.
_SplitPrediction = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


class _SplitJointOutput:
    """What the networks said of some lanes (``transducer.Verdict``)."""

    def __init__(
        self,
        counts: Sequence[int],
        tokens: list[int],
        durations: list[int],
        scores_and_probabilities: tuple[NDArray[np.float32], NDArray[np.float32]],
        predictions: Sequence[_SplitPrediction],
    ) -> None:
        self._row_offsets = list(accumulate(counts, initial=0))
        self.best_tokens = [tokens[first:end] for first, end in pairwise(self._row_offsets)]
        self.durations = [durations[first:end] for first, end in pairwise(self._row_offsets)]
        (self._scores, self._probabilities), self._predictions = scores_and_probabilities, predictions

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        return float(self._probabilities[self._row_offsets[lane] + frame])

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        scores: NDArray[np.float32] = self._scores[self._row_offsets[lane] + frame]
        return scores

    def get_predictor_state(self, lane: int) -> object:
        """Return the prediction network's memory after the lane's token."""
        return self._predictions[lane][1]

"""Greedy decoding of a transducer (TDT or RNNT) over encoder frames, for many lanes, from a carried state.

Each step asks the network about all lanes that are not done: for each of them the next few frames, all from
the lane's present state. A blank leaves the state as it is, so what the network says of later frames holds
until a token is emitted: a lane needs a step for each token and one for each run of frames without, not one
for each frame. What the prediction network makes of a token is kept with the lane until the next token.
Sources: Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations",
https://arxiv.org/abs/2304.06795; Bataev et al., "Label-Looping", https://arxiv.org/abs/2406.06220.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from echoic.engines.decoder import Emission

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from echoic.engines.decoder import Frames

#: Tokens at one frame after which the next frame is taken. Source: NeMo's greedy decoding.
MAX_SYMBOLS = 10
#: Frames of a lane that one step asks about: a TDT passes over blanks by itself, an RNNT has one at most
#: frames.
LOOKAHEAD = {"tdt": 2, "rnnt": 8}


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """Where a lane stands: all that the next frames need to know of those before.

    Attributes:
        token: The last token, or the blank at a start.
        memory: The prediction network's state before that token, as the network holds it.
        skip: Frames still to be passed over: the last duration reached so far beyond the end.
        place: What was said of terms that are listened for (``hotwords``), or None.
    """

    token: int
    memory: object
    skip: int = 0
    place: object = None


@dataclass(slots=True, eq=False)
class Lane:
    """What the network is told of a lane.

    Attributes:
        token: The last token, or the blank at a start.
        memory: The prediction network's state before that token.
        ahead: What the network itself keeps of that token; None after each emission.
    """

    token: int
    memory: object
    ahead: object = None


class Verdict(Protocol):
    """What the network says of the frames of some lanes; a lane's frames beyond its own mean nothing."""

    @property
    def tokens(self) -> Sequence[Sequence[int]]:
        """For each lane and frame the likeliest token, or the blank."""

    @property
    def durations(self) -> Sequence[Sequence[int]]:
        """For each lane and frame how many frames that lasts; 0 where the network does not say."""

    def probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of that token among all tokens and the blank."""

    def scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there: log-probabilities but for a common summand."""

    def memory(self, lane: int) -> object:
        """Return the prediction network's state after the lane's token."""


class Network(Protocol):
    """Prediction network and joint network of a transducer."""

    def start(self) -> object:
        """Return the prediction network's state before anything was said."""

    def look(self, frames: Sequence[Frames], lanes: Sequence[Lane]) -> Verdict:
        """Return what the frames of each lane say after its token.

        Args:
            frames: For each lane one frame at least.
            lanes: Where each stands; ``ahead`` may be written.
        """


class Favour(Protocol):
    """What a lane listens for."""

    def walk(self, frames: Frames, state: TransducerState, max_symbols: int) -> Walk:
        """Return the lane's walk through its frames."""


class Transducer:
    """Decodes greedily (``decoder.Decoder``).

    Args:
        network: The networks.
        blank: The blank's number; it follows the last token.
        lookahead: The most frames of a lane that one step asks about.
        max_symbols: Tokens at one frame after which the next frame is taken.
        together: False: each lane, and each frame, is asked about by itself.
    """

    favours = True

    def __init__(
        self,
        network: Network,
        blank: int,
        *,
        lookahead: int = LOOKAHEAD["tdt"],
        max_symbols: int = MAX_SYMBOLS,
        together: bool = True,
    ) -> None:
        self._network, self._blank = network, blank
        self._lookahead = lookahead if together else 1
        self._max_symbols, self._together = max_symbols, together
        self.start = TransducerState(blank, network.start())

    def decode(
        self,
        lanes: Sequence[Frames],
        states: Sequence[TransducerState],
        favours: Sequence[Favour | None] | None = None,
    ) -> list[tuple[list[Emission], TransducerState]]:
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lanes: Shape ``(frames, width)`` each.
            states: Where each lane stands before its first frame.
            favours: What each listens for; None: nothing.
        """
        walks = [
            Walk(frames, state, self._max_symbols)
            if favour is None
            else favour.walk(frames, state, self._max_symbols)
            for frames, state, favour in zip(lanes, states, favours or [None] * len(lanes), strict=True)
        ]
        if self._together:
            self._walk(walks)
        else:
            for walk in walks:
                self._walk([walk])
        return [(walk.emissions, walk.state()) for walk in walks]

    def passed(self, state: TransducerState, frames: int) -> TransducerState:
        """Return the state after frames that nobody looked at."""
        return replace(state, skip=max(0, state.skip - frames))

    def _reach(self, lanes: int) -> int:  # noqa: ARG002  # a network may look less far for many lanes
        """Return the most frames of a lane that a step with so many lanes asks about."""
        return self._lookahead

    def _walk(self, walks: Sequence[Walk]) -> None:
        active = [walk for walk in walks if not walk.ended()]
        while active:
            self._step(active)
            active = [walk for walk in active if not walk.ended()]

    def _step(self, active: Sequence[Walk]) -> None:
        most = self._reach(len(active))
        verdict = self._network.look(
            [walk.next_frames(most) for walk in active], [walk.lane for walk in active]
        )
        for number, (walk, said, lasts) in enumerate(
            zip(active, verdict.tokens, verdict.durations, strict=True)
        ):
            offset = walk.pass_blanks(said, lasts, self._blank)
            if offset is not None:
                walk.hear(verdict, number, offset)


class Walk:
    """One lane on its way through its frames.

    Args:
        frames: The lane's.
        state: Where it stands before them.
        max_symbols: As in ``Transducer``.
    """

    def __init__(self, frames: Frames, state: TransducerState, max_symbols: int) -> None:
        self._frames, self._size = frames, len(frames)
        self._position = state.skip
        self.lane = Lane(state.token, state.memory)
        self.emissions: list[Emission] = []
        self._max_symbols = max_symbols
        self._symbols = 0

    def ended(self) -> bool:
        """Return whether it is over."""
        return self._position >= self._size

    def state(self) -> TransducerState:
        """Return where it stands after its last frame."""
        return TransducerState(self.lane.token, self.lane.memory, self._position - self._size)

    def next_frames(self, most: int) -> Frames:
        """Return the frames that are to be asked about."""
        frames: Frames = self._frames[self._position : min(self._position + most, self._size)]
        return frames

    def pass_blanks(self, said: Sequence[int], lasts: Sequence[int], blank: int) -> int | None:
        """Go on past blanks; return the offset of the first token, or None: there is none so far."""
        start = self._position
        while self._position < self._size and (offset := self._position - start) < len(said):
            if said[offset] != blank:
                return offset
            self._position += max(lasts[offset], 1)
            self._symbols = 0
        return None

    def hear(self, verdict: Verdict, lane: int, offset: int) -> None:
        """Emit the likeliest token."""
        self.emit(
            verdict.tokens[lane][offset],
            verdict.durations[lane][offset],
            verdict.probability(lane, offset),
            verdict.memory(lane),
        )

    def emit(self, token: int, duration: int, probability: float, memory: object) -> None:
        """Go on behind a token."""
        self.emissions.append(Emission(token, self._position, duration, probability))
        self.lane.token, self.lane.memory, self.lane.ahead = token, memory, None
        self._symbols += 1
        if duration or self._symbols >= self._max_symbols:
            self._position += max(duration, 1)
            self._symbols = 0


class Scores:
    """A verdict read from logits in numpy (``Verdict``).

    Args:
        logits: float32, shape ``(lanes, frames, tokens + blank + durations)``.
        blank: The blank's number; it follows the last token, and the durations follow it.
        durations: Frames that each duration means; none: an RNNT, which says nothing of durations.
        memory: Returns a lane's memory after its token.
    """

    def __init__(
        self,
        logits: NDArray[np.float32],
        blank: int,
        durations: Sequence[int],
        memory: Callable[[int], object],
    ) -> None:
        self._scores = logits[:, :, : blank + 1]
        self.tokens: list[list[int]] = self._scores.argmax(axis=2).tolist()
        if durations:
            choices = logits[:, :, blank + 1 :].argmax(axis=2)
            self.durations: list[list[int]] = np.asarray(durations)[choices].tolist()
        else:
            self.durations = [[0] * logits.shape[1]] * logits.shape[0]
        self.memory = memory

    def probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        scores = self._scores[lane, frame]
        return float(1.0 / np.exp(scores - scores[self.tokens[lane][frame]]).sum())

    def scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        scores: NDArray[np.float32] = self._scores[lane, frame]
        return scores


def stacked(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return several lanes' frames together, shape ``(lanes, most, width)``, zeros after a lane's own."""
    most = max(len(one) for one in frames)
    if all(len(one) == most for one in frames):
        return np.stack(frames)
    padded = np.zeros((len(frames), most, frames[0].shape[1]), np.float32)
    for place, one in zip(padded, frames, strict=True):
        place[: len(one)] = one
    return padded

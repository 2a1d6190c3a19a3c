"""Greedy decoding of a transducer (TDT or RNNT) over encoder frames, for many lanes, from a carried state.

A *lane* is one window's frames. Each step asks the network about all lanes that are not done: for each
of them the next few frames, all from the lane's present state. A blank leaves the state as it is, so what
the network says of later frames holds until a token is emitted: a lane needs a step for each token and one
for each run of frames without, not one for each frame.

The published exports fuse prediction network and joint network into one graph. So the prediction network
(an LSTM over one token) runs again with each step although only a token changes its answer; with
``lookahead`` frames a step that is little beside the joint network, whose weights dominate.
Sources: Xu et al., "Efficient Sequence Transduction by Jointly Predicting Tokens and Durations",
https://arxiv.org/abs/2304.06795; Bataev et al., "Label-Looping", https://arxiv.org/abs/2406.06220.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Tokens at one frame after which the next frame is taken. Source: NeMo's greedy decoding.
MAX_SYMBOLS = 10


@dataclass(frozen=True, slots=True, eq=False)
class TransducerState:
    """Where a lane stands: all that the next frames need to know of those before.

    Attributes:
        token: The last token, or the blank at a start.
        memory: The prediction network's state before that token: float32 arrays, shape
            ``(layers, hidden)`` each.
        skip: Frames still to be passed over: the last duration reached so far beyond the end.
    """

    token: int
    memory: tuple[NDArray[np.float32], ...]
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Emission:
    """A token that was emitted.

    Attributes:
        token: Its number in the vocabulary.
        frame: The lane's frame at which it was emitted.
        duration: Frames it lasts; 0 where the network does not say.
        probability: 0..1 among all tokens and the blank.
    """

    token: int
    frame: int
    duration: int
    probability: float


class Network(Protocol):
    """Prediction network and joint network of a transducer."""

    def __call__(
        self,
        frames: NDArray[np.float32],
        tokens: NDArray[np.int32],
        memory: Sequence[NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], Sequence[NDArray[np.float32]]]:
        """Return what each frame says after each lane's token, and the memory after that token.

        Args:
            frames: float32, shape ``(lanes, frames, width)``.
            tokens: int32, shape ``(lanes,)``.
            memory: float32 arrays, shape ``(layers, lanes, hidden)`` each.

        Returns:
            Logits, float32, shape ``(lanes, frames, tokens + blank + durations)``, and arrays like
            ``memory``.
        """


class Transducer:
    """Decodes greedily.

    Args:
        network: The networks.
        blank: The blank's number; it follows the last token, and the durations follow it.
        durations: Frames that each duration means; none: an RNNT, which says nothing of durations.
        lookahead: The most frames of a lane that one step asks about.
        max_symbols: Tokens at one frame after which the next frame is taken.
        together: False: each lane, and each frame, is asked about by itself.
    """

    def __init__(
        self,
        network: Network,
        blank: int,
        durations: Sequence[int] = (),
        *,
        lookahead: int = 8,
        max_symbols: int = MAX_SYMBOLS,
        together: bool = True,
    ) -> None:
        self._network, self._blank = network, blank
        self._durations = np.array(durations, np.int64)
        self._lookahead = lookahead if together else 1
        self._max_symbols, self._together = max_symbols, together

    def decode(
        self, lanes: Sequence[NDArray[np.float32]], states: Sequence[TransducerState]
    ) -> list[tuple[list[Emission], TransducerState]]:
        """Return the tokens of each lane and where it stands after its last frame.

        Args:
            lanes: float32, shape ``(frames, width)`` each.
            states: Where each lane stands before its first frame.
        """
        walks = [_Walk(*lane, self._max_symbols) for lane in zip(lanes, states, strict=True)]
        if self._together:
            self._walk(walks)
        else:
            for walk in walks:
                self._walk([walk])
        return [(walk.emissions, walk.state()) for walk in walks]

    def _walk(self, walks: Sequence[_Walk]) -> None:
        active = [walk for walk in walks if not walk.done]
        while active:
            self._step(active)
            active = [walk for walk in active if not walk.done]

    def _step(self, active: Sequence[_Walk]) -> None:
        logits, after = self._network(
            _gathered(active, self._lookahead),
            np.array([walk.token for walk in active], np.int32),
            [np.stack(parts, axis=1) for parts in zip(*(walk.memory for walk in active), strict=True)],
        )
        scores = logits[:, :, : self._blank + 1]
        tokens = scores.argmax(axis=2)
        durations = self._read_durations(logits)
        for lane, (walk, said, lasts) in enumerate(
            zip(active, tokens.tolist(), durations.tolist(), strict=True)
        ):
            offset = walk.pass_blanks(said, lasts, self._blank)
            if offset is not None:
                memory = tuple(part[:, lane] for part in after)
                probability = _probability(scores[lane, offset], said[offset])
                walk.emit(said[offset], lasts[offset], probability, memory)

    def _read_durations(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        if not self._durations.size:
            return np.zeros(logits.shape[:2], np.int64)
        return np.asarray(self._durations[logits[:, :, self._blank + 1 :].argmax(axis=2)])


class _Walk:
    """One lane on its way through its frames."""

    def __init__(self, frames: NDArray[np.float32], state: TransducerState, max_symbols: int) -> None:
        self.frames = frames
        self.position = state.skip
        self.token, self.memory = state.token, state.memory
        self.emissions: list[Emission] = []
        self._max_symbols = max_symbols
        self._symbols = 0

    @property
    def done(self) -> bool:
        return self.position >= len(self.frames)

    def state(self) -> TransducerState:
        return TransducerState(self.token, self.memory, self.position - len(self.frames))

    def pass_blanks(self, said: Sequence[int], lasts: Sequence[int], blank: int) -> int | None:
        """Go on past blanks; return the offset of the first token, or None: there is none so far."""
        start = self.position
        while not self.done and (offset := self.position - start) < len(said):
            if said[offset] != blank:
                return offset
            self.position += max(lasts[offset], 1)
            self._symbols = 0
        return None

    def emit(
        self, token: int, duration: int, probability: float, memory: tuple[NDArray[np.float32], ...]
    ) -> None:
        self.emissions.append(Emission(token, self.position, duration, probability))
        self.token, self.memory = token, memory
        self._symbols += 1
        if duration or self._symbols >= self._max_symbols:
            self.position += max(duration, 1)
            self._symbols = 0


def start_state(blank: int, shapes: Sequence[tuple[int, int]]) -> TransducerState:
    """Return where a lane stands that has heard nothing.

    Args:
        blank: The blank's number.
        shapes: ``(layers, hidden)`` of each part of the memory.
    """
    return TransducerState(blank, tuple(np.zeros(shape, np.float32) for shape in shapes))


def passed(state: TransducerState, frames: int) -> TransducerState:
    """Return the state after frames that nobody looked at."""
    return replace(state, skip=max(0, state.skip - frames))


def _gathered(active: Sequence[_Walk], lookahead: int) -> NDArray[np.float32]:
    """Return the next frames of each lane, zeros after its last."""
    most = min(lookahead, max(len(walk.frames) - walk.position for walk in active))
    gathered = np.zeros((len(active), most, active[0].frames.shape[1]), np.float32)
    for place, walk in zip(gathered, active, strict=True):
        ahead = walk.frames[walk.position : walk.position + most]
        place[: len(ahead)] = ahead
    return gathered


def _probability(scores: NDArray[np.float32], token: int) -> float:
    return float(1.0 / np.exp(scores - scores[token]).sum())

"""NVIDIA's Parakeet for streams, whoever computes: the decoder's state is carried from window to window.

The encoder sees left | new | right; the decoder walks the new frames only and goes on where it stood, so no
text is ever merged. Frames lie on a grid of 80 ms that begins with the stretch of audio: a window's left
context is cut so that its first frame lies on the grid, and a frame that the new part ends in is left to the
next window. After a window that is the last for a while the grid begins anew.

A window is padded to a multiple of its own (``PADDING``), never to its neighbour's length, and only windows
of equal padded length are encoded together: so what is heard in a window does not depend on its company.
A language hint is accepted and not needed: v3 finds the language by itself, and v2 and the 110M know English
only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from echoic.engines.features import HOP, SAMPLE_RATE, Features, LogMel, frame_count
from echoic.engines.hotwords import Boost, Trees
from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from echoic.engines.decoder import Decoder, Emission, Frames
    from echoic.engines.hotwords import Tree
    from echoic.session.window import Window

#: Feature frames to a multiple of which a window is padded: two frames of the encoder.
PADDING = 16
#: Digits of a confidence: so many are the same however many lanes were decoded together.
CONFIDENCE_DECIMALS = 3
#: Seconds of padded audio that one call of an encoder gets at most. What a call needs grows with them: the
#: encoder of 0.6B takes 90 MB for 6.5 s, so this is about 0.8 GB. Eight windows of the usual contexts fit.
MOST_SECONDS = 60.0
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be set, whoever computes.

    Attributes:
        left_context: Seconds before the new part that the encoder sees; one frame (0.08) at least.
        right_context: Seconds after it that the encoder sees; a final says words so much later.
        lanes: The most windows of one call; an encoder that takes one by one makes it 1.
        threads: The most calls at the same time.
    """

    left_context: float = 4.0
    right_context: float = 1.0
    lanes: int = 8
    threads: int = 2


class Encoder(Protocol):
    """A Parakeet's encoder."""

    @property
    def together(self) -> bool:
        """Whether what it makes of a window is the same in any company of equal padded length."""

    def encode(self, features: Features) -> Sequence[Frames]:
        """Return the frames of each window, its own first; there may be more after them.

        Args:
            features: Of windows that were padded to one length.
        """


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model.

    Attributes:
        name: The model's own name.
        encoder: Its encoder.
        decoder: What turns the encoder's frames into tokens.
        pieces: The vocabulary as text, a leading space where a word starts; the blank is not in it.
        bands: Mel bands that it wants.
        subsampling: Feature frames to one frame of the encoder.
    """

    name: str
    encoder: Encoder
    decoder: Decoder
    pieces: Sequence[str]
    bands: int
    subsampling: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Carry:
    """Where a stream stands.

    ``walked`` frames since ``origin`` (seconds on the session's clock) are behind it.
    """

    origin: float
    walked: int
    state: Any


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """A window on the grid.

    Attributes:
        audio: From a frame's beginning on.
        dropped: Samples of the window before it.
        origin: Where the grid begins, in seconds on the session's clock.
        base: The grid's number of the first frame in ``audio``.
        first: The first frame to walk, counted in ``audio`` like all that follow.
        edge: The frame after the last that is to be committed.
        end: The frame after the last.
        state: The decoder's before ``first``.
        tree: The terms that it listens for, or None.
    """

    audio: NDArray[np.float32]
    dropped: int
    origin: float
    base: int
    first: int
    edge: int
    end: int
    state: Any
    tree: Tree | None


class Parakeet:
    """Parakeet as an engine (``engines.base.Engine``); those that load it are built on this.

    Args:
        model: The loaded model.
        tuning: What may be set.

    Raises:
        ValueError: A left context of less than one frame.
    """

    def __init__(self, model: Model, tuning: Tuning) -> None:
        self._tuning, self._name, self._pieces = tuning, model.name, model.pieces
        self._frame = model.subsampling * HOP
        if tuning.left_context * SAMPLE_RATE < self._frame:
            raise ValueError(f"A left context of {tuning.left_context} s is less than one frame.")
        self._features = LogMel(model.bands)
        self._encoder, self._decoder = model.encoder, model.decoder
        self._lanes = tuning.lanes if model.encoder.together else 1
        self._trees = Trees(model.pieces)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def needs(self) -> WindowNeeds:
        """Contexts on both sides, at 16 kHz."""
        return WindowNeeds(
            "carried",
            sample_rate=SAMPLE_RATE,
            left_context=self._tuning.left_context,
            right_context=self._tuning.right_context,
            times=True,
            terms="boost" if self._decoder.favours else "none",
        )

    @property
    def lanes(self) -> int:
        """The most windows of one ``decode``; 1 if the encoder takes one by one: company gains nothing."""
        return self._lanes

    @property
    def threads(self) -> int:
        """The most ``decode`` calls at the same time."""
        return self._tuning.threads

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window's new part, and as volatile those of its right context.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        cuts = [self._cut(window) for window in windows]
        frames = self._encode(cuts)
        walked = self._walk(cuts, frames)
        suspected = self._suspect(windows, cuts, frames, [state for _, state in walked])
        return [
            Hypothesis(
                self._tokens(heard, cut, cut.first),
                self._tokens(later, cut, cut.edge),
                self._carry(window, cut, state),
            )
            for window, cut, (heard, state), later in zip(windows, cuts, walked, suspected, strict=True)
        ]

    def _walk(self, cuts: Sequence[_Cut], frames: Sequence[Frames]) -> list[tuple[list[Emission], Any]]:
        """Return the tokens of each window's new part and the state after it.

        Who listens for terms is shown the right context too: there it may turn out whether one was said.
        """
        new = [
            lane[cut.first : cut.edge if cut.tree is None else cut.end]
            for cut, lane in zip(cuts, frames, strict=True)
        ]
        favours = [
            None if cut.tree is None else Boost(cut.tree, min(cut.edge - cut.first, len(lane)))
            for cut, lane in zip(cuts, new, strict=True)
        ]
        answers = self._decoder.decode(new, [cut.state for cut in cuts], favours)
        return [
            (heard, self._decoder.passed(state, max(0, cut.edge - cut.first - len(lane))))
            for cut, lane, (heard, state) in zip(cuts, new, answers, strict=True)
        ]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._decoder

    def _suspect(
        self,
        windows: Sequence[Window],
        cuts: Sequence[_Cut],
        frames: Sequence[Frames],
        states: Sequence[Any],
    ) -> list[list[Emission]]:
        """Return the tokens of each window's right context, of those that are to be shown."""
        suspected: list[list[Emission]] = [[] for _ in windows]
        shown = [number for number, window in enumerate(windows) if window.glimpse]
        ahead = [frames[number][cuts[number].edge : cuts[number].end] for number in shown]
        trees = [cuts[number].tree for number in shown]
        favours = [
            None if tree is None else Boost(tree, len(lane)) for tree, lane in zip(trees, ahead, strict=True)
        ]
        answers = self._decoder.decode(ahead, [states[number] for number in shown], favours)
        for number, (later, _) in zip(shown, answers, strict=True):
            suspected[number] = later
        return suspected

    def _cut(self, window: Window) -> _Cut:
        if window.sample_rate != SAMPLE_RATE:
            raise ValueError(f"Parakeet reads {SAMPLE_RATE} Hz, not {window.sample_rate} Hz.")
        carry = window.carry if isinstance(window.carry, _Carry) else None
        origin = window.start if carry is None else carry.origin
        place = round((window.start - origin) * SAMPLE_RATE)
        dropped = min(-place % self._frame, window.left)
        base = round((place + dropped) / self._frame)
        audio = window.audio[dropped:]
        end = -(-frame_count(len(audio)) * HOP // self._frame)
        left = window.left - dropped
        first, state = self._resumed(carry, base, left // self._frame)
        edge = end if window.last else (left + window.new) // self._frame
        first = min(first, end)
        tree = self._trees.of(window.options.hotwords) if self._decoder.favours else None
        return _Cut(audio, dropped, origin, base, first, min(max(edge, first), end), end, state, tree)

    def _resumed(self, carry: _Carry | None, base: int, frame: int) -> tuple[int, Any]:
        """Return the first frame to walk and the state there; audio in between may have been left out."""
        if carry is None:
            return frame, self._decoder.start
        walked = carry.walked - base
        if frame - walked <= 1:
            return max(walked, 0), carry.state
        return frame, self._decoder.passed(carry.state, frame - walked)

    def _carry(self, window: Window, cut: _Cut, state: object) -> _Carry:
        if window.last:
            return _Carry(window.start + len(window.audio) / SAMPLE_RATE, 0, state)
        return _Carry(cut.origin, cut.base + cut.edge, state)

    def _encode(self, cuts: Sequence[_Cut]) -> list[Frames]:
        """Return the encoder's frames of each window; none of silent ones."""
        frames: list[Frames] = [np.zeros((0, 1), np.float32)] * len(cuts)
        groups: dict[tuple[int, int], list[int]] = {}
        for number, cut in enumerate(cuts):
            if cut.end and float(np.abs(cut.audio).max()) >= SILENCE_PEAK:
                size = math.ceil(frame_count(len(cut.audio)) / PADDING) * PADDING
                groups.setdefault((size, 0 if self._encoder.together else number), []).append(number)
        for group in _calls(groups):
            features = _padded(self._features([cuts[number].audio for number in group]))
            for number, lane in zip(group, self._encoder.encode(features), strict=True):
                frames[number] = lane[: cuts[number].end]
        return frames

    def _tokens(self, emissions: Sequence[Emission], cut: _Cut, first: int) -> tuple[Token, ...]:
        """Return emissions, counted from the frame ``first`` on, as tokens with their place in the window."""
        seconds, end = self._frame / SAMPLE_RATE, (cut.dropped + len(cut.audio)) / SAMPLE_RATE
        tokens = []
        for emission in emissions:
            if text := self._pieces[emission.token]:
                start = min(cut.dropped / SAMPLE_RATE + (first + emission.frame) * seconds, end)
                lasts = min(max(emission.duration, 1) * seconds, end - start)
                tokens.append(Token(text, start, lasts, round(emission.probability, CONFIDENCE_DECIMALS)))
        return tuple(tokens)


def _calls(groups: Mapping[tuple[int, int], Sequence[int]]) -> Iterator[Sequence[int]]:
    """Yield windows of one padded length, which is the key's first part in feature frames, call by call."""
    for (size, _), group in groups.items():
        most = max(1, int(MOST_SECONDS * SAMPLE_RATE / (size * HOP)))
        for first in range(0, len(group), most):
            yield group[first : first + most]


def _padded(features: Features) -> Features:
    missing = -features.bands.shape[2] % PADDING
    return Features(np.pad(features.bands, ((0, 0), (0, 0), (0, missing))), features.frames)

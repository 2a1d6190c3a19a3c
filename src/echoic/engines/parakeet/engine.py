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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echoic.engines.parakeet.biasing import TermBias, TermTrie, TermTrieCache
from echoic.engines.parakeet.decoder import EmittedToken, EncoderFrames, TokenDecoder
from echoic.engines.parakeet.features import (
    HOP_SAMPLES,
    SAMPLE_RATE,
    LogMelExtractor,
    MelFeatures,
    count_frames,
)
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token, Window

#: Feature frames to a multiple of which a window is padded: two frames of the encoder.
PADDING_MULTIPLE = 16
#: Digits of a confidence: so many are the same however many lanes were decoded together.
CONFIDENCE_DECIMALS = 3
#: Seconds of padded audio that one call of an encoder gets at most. What a call needs grows with them: the
#: encoder of 0.6B takes 90 MB for 6.5 s, so this is about 0.8 GB. Eight windows of the usual contexts fit.
MAX_CALL_SECONDS = 60.0
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4


@dataclass(frozen=True, slots=True)
class ParakeetOptions:
    """What may be set, whoever computes.

    Attributes:
        left_context: Seconds before the new part that the encoder sees; one frame (0.08) at least.
        right_context: Seconds after it that the encoder sees; a final says words so much later.
        max_batch_size: The most windows of one call; an encoder that takes one by one makes it 1.
        max_concurrency: The most calls at the same time.
    """

    left_context: float = 4.0
    right_context: float = 1.0
    max_batch_size: int = 8
    max_concurrency: int = 2


class ParakeetEncoder(Protocol):
    """A Parakeet's encoder."""

    @property
    def can_batch(self) -> bool:
        """Whether what it makes of a window is the same in any company of equal padded length."""

    def encode(self, features: MelFeatures) -> Sequence[EncoderFrames]:
        """Return the frames of each window, its own first; there may be more after them.

        Args:
            features: Of windows that were padded to one length.
        """


@dataclass(frozen=True, slots=True)
class ParakeetModel:
    """A loaded model.

    Attributes:
        name: The model's own name.
        encoder: Its encoder.
        decoder: What turns the encoder's frames into tokens.
        pieces: The vocabulary as text, a leading space where a word starts; the blank is not in it.
        mel_bands: Mel bands that it wants.
        subsampling: Feature frames to one frame of the encoder.
    """

    name: str
    encoder: ParakeetEncoder
    decoder: TokenDecoder
    pieces: Sequence[str]
    mel_bands: int
    subsampling: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class _StreamState:
    """Where a stream stands.

    ``decoded_frames`` frames since ``origin`` (seconds on the session's clock) are behind it.
    """

    grid_origin: float
    decoded_frames: int
    decoder_state: Any


@dataclass(frozen=True, slots=True, eq=False)
class _GridWindow:
    """A window on the grid.

    Attributes:
        audio: From a frame's beginning on.
        dropped_samples: Samples of the window before it.
        grid_origin: Where the grid begins, in seconds on the session's clock.
        grid_frame: The grid's number of the first frame in ``audio``.
        decode_start: The first frame to walk, counted in ``audio`` like all that follow.
        commit_end: The frame after the last that is to be committed.
        end: The frame after the last.
        decoder_state: The decoder's before ``first``.
        term_trie: The terms that it listens for, or None.
    """

    audio: NDArray[np.float32]
    dropped_samples: int
    grid_origin: float
    grid_frame: int
    decode_start: int
    commit_end: int
    end: int
    decoder_state: Any
    term_trie: TermTrie | None


class Parakeet:
    """Parakeet as an engine (``engines.base.Engine``); those that load it are built on this.

    Args:
        model: The loaded model.
        options: What may be set.

    Raises:
        ValueError: A left context of less than one frame.
    """

    def __init__(self, model: ParakeetModel, options: ParakeetOptions) -> None:
        self._options, self._name, self._pieces = options, model.name, model.pieces
        self._frame_samples = model.subsampling * HOP_SAMPLES
        if options.left_context * SAMPLE_RATE < self._frame_samples:
            raise ValueError(f"A left context of {options.left_context} s is less than one frame.")
        self._feature_extractor = LogMelExtractor(model.mel_bands)
        self._encoder, self._decoder = model.encoder, model.decoder
        self._max_batch_size = options.max_batch_size if model.encoder.can_batch else 1
        self._term_tries = TermTrieCache(model.pieces)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self._name

    @property
    def requirements(self) -> EngineRequirements:
        """Contexts on both sides, at 16 kHz."""
        return EngineRequirements(
            "stateful",
            sample_rate=SAMPLE_RATE,
            left_context=self._options.left_context,
            right_context=self._options.right_context,
            has_word_times=True,
            hotword_support="boost" if self._decoder.can_bias else "none",
        )

    @property
    def max_batch_size(self) -> int:
        """The most windows of one ``decode``; 1 if the encoder takes one by one: company gains nothing."""
        return self._max_batch_size

    @property
    def max_concurrency(self) -> int:
        """The most ``decode`` calls at the same time."""
        return self._options.max_concurrency

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window's new part, and as volatile those of its right context.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        cuts = [self._align_to_grid(window) for window in windows]
        frames = self._encode_windows(cuts)
        walked = self._decode_new_frames(cuts, frames)
        suspected = self._decode_right_context(windows, cuts, frames, [state for _, state in walked])
        return [
            Hypothesis(
                self._build_tokens(heard, cut, cut.decode_start),
                self._build_tokens(later, cut, cut.commit_end),
                self._build_stream_state(window, cut, state),
            )
            for window, cut, (heard, state), later in zip(windows, cuts, walked, suspected, strict=True)
        ]

    def _decode_new_frames(
        self, grid_windows: Sequence[_GridWindow], frames: Sequence[EncoderFrames]
    ) -> list[tuple[list[EmittedToken], Any]]:
        """Return the tokens of each window's new part and the state after it.

        Who listens for terms is shown the right context too: there it may turn out whether one was said.
        """
        new = [
            lane[cut.decode_start : cut.commit_end if cut.term_trie is None else cut.end]
            for cut, lane in zip(grid_windows, frames, strict=True)
        ]
        favours = [
            None
            if cut.term_trie is None
            else TermBias(cut.term_trie, min(cut.commit_end - cut.decode_start, len(lane)))
            for cut, lane in zip(grid_windows, new, strict=True)
        ]
        answers = self._decoder.decode(new, [cut.decoder_state for cut in grid_windows], favours)
        return [
            (heard, self._decoder.skip_frames(state, max(0, cut.commit_end - cut.decode_start - len(lane))))
            for cut, lane, (heard, state) in zip(grid_windows, new, answers, strict=True)
        ]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._decoder

    def _decode_right_context(
        self,
        windows: Sequence[Window],
        grid_windows: Sequence[_GridWindow],
        frames: Sequence[EncoderFrames],
        decoder_states: Sequence[Any],
    ) -> list[list[EmittedToken]]:
        """Return the tokens of each window's right context, of those that are to be shown."""
        suspected: list[list[EmittedToken]] = [[] for _ in windows]
        shown = [number for number, window in enumerate(windows) if window.for_partial]
        ahead = [
            frames[number][grid_windows[number].commit_end : grid_windows[number].end] for number in shown
        ]
        trees = [grid_windows[number].term_trie for number in shown]
        favours = [
            None if tree is None else TermBias(tree, len(lane))
            for tree, lane in zip(trees, ahead, strict=True)
        ]
        answers = self._decoder.decode(ahead, [decoder_states[number] for number in shown], favours)
        for number, (later, _) in zip(shown, answers, strict=True):
            suspected[number] = later
        return suspected

    def _align_to_grid(self, window: Window) -> _GridWindow:
        if window.sample_rate != SAMPLE_RATE:
            raise ValueError(f"Parakeet reads {SAMPLE_RATE} Hz, not {window.sample_rate} Hz.")
        carry = window.state if isinstance(window.state, _StreamState) else None
        origin = window.start if carry is None else carry.grid_origin
        place = round((window.start - origin) * SAMPLE_RATE)
        dropped = min(-place % self._frame_samples, window.left_context)
        base = round((place + dropped) / self._frame_samples)
        audio = window.audio[dropped:]
        end = -(-count_frames(len(audio)) * HOP_SAMPLES // self._frame_samples)
        left = window.left_context - dropped
        first, state = self._resume_decoder(carry, base, left // self._frame_samples)
        edge = end if window.is_last else (left + window.new_samples) // self._frame_samples
        first = min(first, end)
        tree = self._term_tries.get_trie(window.options.hotwords) if self._decoder.can_bias else None
        return _GridWindow(audio, dropped, origin, base, first, min(max(edge, first), end), end, state, tree)

    def _resume_decoder(
        self, stream_state: _StreamState | None, grid_frame: int, new_start: int
    ) -> tuple[int, Any]:
        """Return the first frame to walk and the state there; audio in between may have been left out."""
        if stream_state is None:
            return new_start, self._decoder.initial_state
        walked = stream_state.decoded_frames - grid_frame
        if new_start - walked <= 1:
            return max(walked, 0), stream_state.decoder_state
        return new_start, self._decoder.skip_frames(stream_state.decoder_state, new_start - walked)

    def _build_stream_state(
        self, window: Window, grid_window: _GridWindow, decoder_state: object
    ) -> _StreamState:
        if window.is_last:
            return _StreamState(window.start + len(window.audio) / SAMPLE_RATE, 0, decoder_state)
        return _StreamState(
            grid_window.grid_origin, grid_window.grid_frame + grid_window.commit_end, decoder_state
        )

    def _encode_windows(self, grid_windows: Sequence[_GridWindow]) -> list[EncoderFrames]:
        """Return the encoder's frames of each window; none of silent ones."""
        frames: list[EncoderFrames] = [np.zeros((0, 1), np.float32)] * len(grid_windows)
        groups: dict[tuple[int, int], list[int]] = {}
        for number, cut in enumerate(grid_windows):
            if cut.end and float(np.abs(cut.audio).max()) >= SILENCE_PEAK:
                size = math.ceil(count_frames(len(cut.audio)) / PADDING_MULTIPLE) * PADDING_MULTIPLE
                groups.setdefault((size, 0 if self._encoder.can_batch else number), []).append(number)
        for group in _split_into_calls(groups):
            features = _pad_features(
                self._feature_extractor([grid_windows[number].audio for number in group])
            )
            for number, lane in zip(group, self._encoder.encode(features), strict=True):
                frames[number] = lane[: grid_windows[number].end]
        return frames

    def _build_tokens(
        self, emitted_tokens: Sequence[EmittedToken], grid_window: _GridWindow, first_frame: int
    ) -> tuple[Token, ...]:
        """Return emissions, counted from the frame ``first_frame`` on, as tokens with their place in the window."""
        seconds, end = (
            self._frame_samples / SAMPLE_RATE,
            (grid_window.dropped_samples + len(grid_window.audio)) / SAMPLE_RATE,
        )
        tokens = []
        for emission in emitted_tokens:
            if text := self._pieces[emission.token_id]:
                start = min(
                    grid_window.dropped_samples / SAMPLE_RATE + (first_frame + emission.frame) * seconds, end
                )
                lasts = min(max(emission.duration_frames, 1) * seconds, end - start)
                tokens.append(Token(text, start, lasts, round(emission.probability, CONFIDENCE_DECIMALS)))
        return tuple(tokens)


def _split_into_calls(groups: Mapping[tuple[int, int], Sequence[int]]) -> Iterator[Sequence[int]]:
    """Yield windows of one padded length, which is the key's first part in feature frames, call by call."""
    for (size, _), group in groups.items():
        most = max(1, int(MAX_CALL_SECONDS * SAMPLE_RATE / (size * HOP_SAMPLES)))
        for first in range(0, len(group), most):
            yield group[first : first + most]


def _pad_features(features: MelFeatures) -> MelFeatures:
    missing = -features.log_mel.shape[2] % PADDING_MULTIPLE
    return MelFeatures(np.pad(features.log_mel, ((0, 0), (0, 0), (0, missing))), features.frame_counts)

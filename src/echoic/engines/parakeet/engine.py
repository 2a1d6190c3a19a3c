"""NVIDIA's Parakeet as a streaming engine: the decoder state travels from window to window.

The encoder sees the left context, the new part and the right context. The decoder decodes only the new
frames, from the state after the previous window, so no text is ever merged. Frames lie on a grid of 80 ms
that begins with the pipeline's audio: the left context of a window is trimmed so that its first frame lies on
the grid, and a frame in which the new part ends belongs to the next window. A new grid begins after a window
that is marked as the last.

A window is padded to a multiple of ``PADDING_MULTIPLE``, never to the length of another window, and only
windows of equal padded length are encoded together: so the output for a window does not depend on its batch.
The language hint is not used: v3 detects the language, and v2 and the 110M support English only.
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
from echoic.engines.windows import check_sample_rate, is_silent
from echoic.interfaces.engine import EngineRequirements, Hypothesis, Token, Window

#: Windows are padded to a multiple of this many feature frames: two encoder frames.
PADDING_MULTIPLE = 16
#: Decimal places of a confidence: these do not depend on the batch size.
CONFIDENCE_DECIMALS = 3
#: The most seconds of padded audio in one encoder call, which limits its memory: the encoder of 0.6B takes 90
#: MB for 6.5 s, so this is about 0.8 GB. Eight windows with the default contexts fit.
MAX_CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ParakeetOptions:
    """Options of every Parakeet, on any backend."""

    #: Seconds of left context; at least one frame (0.08).
    left_context: float = 4.0
    #: Seconds of right context; finals are delayed by as much.
    right_context: float = 1.0
    #: The most windows in one call; 1 if the encoder cannot batch.
    max_batch_size: int = 8
    #: The most calls at the same time.
    max_concurrency: int = 2


class ParakeetEncoder(Protocol):
    """The encoder of a Parakeet."""

    @property
    def can_batch(self) -> bool:
        """Whether the frames of a window are the same in any batch of windows of equal padded length."""

    def encode(self, features: MelFeatures) -> Sequence[EncoderFrames]:
        """Return the frames of each window; frames of the padding may follow.

        Args:
            features: The features of windows that are padded to one length.
        """


@dataclass(frozen=True, slots=True)
class ParakeetModel:
    """A loaded model."""

    #: The model's own name.
    name: str
    encoder: ParakeetEncoder
    #: The decoder of the encoder's frames.
    decoder: TokenDecoder
    #: The vocabulary as text, a leading space at the start of a word; without the blank.
    pieces: Sequence[str]
    #: Mel bands of the features.
    mel_bands: int
    #: Feature frames per encoder frame.
    subsampling: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class _StreamState:
    """The position and the decoder state of a stream after a window."""

    #: The start of the grid, in seconds on the session's clock.
    grid_origin: float
    #: Frames of the grid that are decoded.
    decoded_frames: int
    decoder_state: Any


@dataclass(frozen=True, slots=True, eq=False)
class _GridWindow:
    """A window on the grid; frames are counted from the first one in ``audio``."""

    #: The audio from the start of a frame on.
    audio: NDArray[np.float32]
    #: Samples of the window before ``audio``.
    dropped_samples: int
    #: The start of the grid, in seconds on the session's clock.
    grid_origin: float
    #: The number in the grid of the first frame in ``audio``.
    grid_frame: int
    #: The first frame to decode.
    decode_start: int
    #: The end of the frames to commit.
    commit_end: int
    #: The end of all frames.
    end: int
    #: The decoder state before ``decode_start``.
    decoder_state: Any
    #: The hotwords to favour, or None.
    term_trie: TermTrie | None


class Parakeet:
    """Parakeet on any backend (implements ``Engine``); the classes that load a model derive from this.

    Args:
        model: The loaded model.
        options: Options of the engine.

    Raises:
        ValueError: The left context is less than one frame.
    """

    def __init__(self, model: ParakeetModel, options: ParakeetOptions) -> None:
        self._frame_samples = model.subsampling * HOP_SAMPLES
        if options.left_context * SAMPLE_RATE < self._frame_samples:
            raise ValueError(f"A left context of {options.left_context} s is less than one frame.")
        self.name, self._options, self._pieces = model.name, options, model.pieces
        self.max_concurrency = options.max_concurrency
        self.max_batch_size = options.max_batch_size if model.encoder.can_batch else 1
        self._feature_extractor = LogMelExtractor(model.mel_bands)
        self._encoder, self._decoder = model.encoder, model.decoder
        self._term_tries = TermTrieCache(model.pieces)

    @property
    def requirements(self) -> EngineRequirements:
        """Windows at 16 kHz with left and right context."""
        return EngineRequirements(
            "stateful",
            sample_rate=SAMPLE_RATE,
            left_context=self._options.left_context,
            right_context=self._options.right_context,
            has_word_times=True,
            hotword_support="boost" if self._decoder.can_bias else "none",
        )

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window: the new part as committed, the right context as volatile.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        grid_windows = [self._align_to_grid(window) for window in windows]
        frames = self._encode_windows(grid_windows)
        decoded = self._decode_new_frames(grid_windows, frames)
        previews = self._decode_right_context(windows, grid_windows, frames, [state for _, state in decoded])
        return [
            Hypothesis(
                self._build_tokens(tokens, grid_window, grid_window.decode_start),
                self._build_tokens(preview, grid_window, grid_window.commit_end),
                self._build_stream_state(window, grid_window, state),
            )
            for window, grid_window, (tokens, state), preview in zip(
                windows, grid_windows, decoded, previews, strict=True
            )
        ]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._decoder

    def _align_to_grid(self, window: Window) -> _GridWindow:
        check_sample_rate(window, SAMPLE_RATE, "Parakeet")
        state = window.state if isinstance(window.state, _StreamState) else None
        origin = window.start if state is None else state.grid_origin
        position = round((window.start - origin) * SAMPLE_RATE)
        dropped = min(-position % self._frame_samples, window.left_context)
        grid_frame = round((position + dropped) / self._frame_samples)
        audio = window.audio[dropped:]
        end = -(-count_frames(len(audio)) * HOP_SAMPLES // self._frame_samples)
        left = window.left_context - dropped
        start, decoder_state = self._resume_decoder(state, grid_frame, left // self._frame_samples)
        start = min(start, end)
        commit_end = end if window.is_last else (left + window.new_samples) // self._frame_samples
        return _GridWindow(
            audio,
            dropped,
            origin,
            grid_frame,
            decode_start=start,
            commit_end=min(max(commit_end, start), end),
            end=end,
            decoder_state=decoder_state,
            term_trie=self._term_tries.get_trie(window.options.hotwords) if self._decoder.can_bias else None,
        )

    def _resume_decoder(
        self, stream_state: _StreamState | None, grid_frame: int, new_start: int
    ) -> tuple[int, Any]:
        """Return the first frame to decode and the state before it; the audio may have a gap before it."""
        if stream_state is None:
            return new_start, self._decoder.initial_state
        decoded_end = stream_state.decoded_frames - grid_frame
        if new_start - decoded_end <= 1:
            return max(decoded_end, 0), stream_state.decoder_state
        return new_start, self._decoder.skip_frames(stream_state.decoder_state, new_start - decoded_end)

    def _build_stream_state(
        self, window: Window, grid_window: _GridWindow, decoder_state: object
    ) -> _StreamState:
        if window.is_last:
            return _StreamState(window.start + len(window.audio) / SAMPLE_RATE, 0, decoder_state)
        return _StreamState(
            grid_window.grid_origin, grid_window.grid_frame + grid_window.commit_end, decoder_state
        )

    def _encode_windows(self, grid_windows: Sequence[_GridWindow]) -> list[EncoderFrames]:
        """Return the encoder frames of each window; none for silent windows."""
        frames: list[EncoderFrames] = [np.zeros((0, 1), np.float32)] * len(grid_windows)
        groups: dict[tuple[int, int], list[int]] = {}
        for number, window in enumerate(grid_windows):
            if window.end and not is_silent(window.audio):
                size = math.ceil(count_frames(len(window.audio)) / PADDING_MULTIPLE) * PADDING_MULTIPLE
                groups.setdefault((size, 0 if self._encoder.can_batch else number), []).append(number)
        for group in _split_into_calls(groups):
            features = _pad_features(
                self._feature_extractor([grid_windows[number].audio for number in group])
            )
            for number, lane in zip(group, self._encoder.encode(features), strict=True):
                frames[number] = lane[: grid_windows[number].end]
        return frames

    def _decode_new_frames(
        self, grid_windows: Sequence[_GridWindow], frames: Sequence[EncoderFrames]
    ) -> list[tuple[list[EmittedToken], Any]]:
        """Return the tokens of each window's new part, and the decoder state after it.

        With hotwords the decoder also sees the right context, which may confirm or reject a hotword.
        """
        lanes = [
            lane[window.decode_start : window.commit_end if window.term_trie is None else window.end]
            for window, lane in zip(grid_windows, frames, strict=True)
        ]
        biases = [
            _build_bias(window.term_trie, min(window.commit_end - window.decode_start, len(lane)))
            for window, lane in zip(grid_windows, lanes, strict=True)
        ]
        decoded = self._decoder.decode(lanes, [window.decoder_state for window in grid_windows], biases)
        return [
            (
                tokens,
                self._decoder.skip_frames(state, max(0, window.commit_end - window.decode_start - len(lane))),
            )
            for window, lane, (tokens, state) in zip(grid_windows, lanes, decoded, strict=True)
        ]

    def _decode_right_context(
        self,
        windows: Sequence[Window],
        grid_windows: Sequence[_GridWindow],
        frames: Sequence[EncoderFrames],
        decoder_states: Sequence[Any],
    ) -> list[list[EmittedToken]]:
        """Return the tokens of the right context of each window that is decoded for a partial."""
        previews: list[list[EmittedToken]] = [[] for _ in windows]
        numbers = [number for number, window in enumerate(windows) if window.for_partial]
        lanes = [
            frames[number][grid_windows[number].commit_end : grid_windows[number].end] for number in numbers
        ]
        biases = [
            _build_bias(grid_windows[number].term_trie, len(lane))
            for number, lane in zip(numbers, lanes, strict=True)
        ]
        decoded = self._decoder.decode(lanes, [decoder_states[number] for number in numbers], biases)
        for number, (tokens, _) in zip(numbers, decoded, strict=True):
            previews[number] = tokens
        return previews

    def _build_tokens(
        self, emitted_tokens: Sequence[EmittedToken], grid_window: _GridWindow, first_frame: int
    ) -> tuple[Token, ...]:
        """Return tokens with their times in the window; their frames are counted from ``first_frame``."""
        frame_seconds = self._frame_samples / SAMPLE_RATE
        offset = grid_window.dropped_samples / SAMPLE_RATE
        end = (grid_window.dropped_samples + len(grid_window.audio)) / SAMPLE_RATE
        tokens = []
        for emitted in emitted_tokens:
            if text := self._pieces[emitted.token_id]:
                start = min(offset + (first_frame + emitted.frame) * frame_seconds, end)
                duration = min(max(emitted.duration_frames, 1) * frame_seconds, end - start)
                confidence = round(emitted.probability, CONFIDENCE_DECIMALS)
                tokens.append(Token(text, start, duration, confidence))
        return tuple(tokens)


def _build_bias(trie: TermTrie | None, commit_end: int) -> TermBias | None:
    return None if trie is None else TermBias(trie, commit_end)


def _split_into_calls(groups: Mapping[tuple[int, int], Sequence[int]]) -> Iterator[Sequence[int]]:
    """Yield the windows of each encoder call; a key begins with the padded length in feature frames."""
    for (size, _), group in groups.items():
        max_windows = max(1, int(MAX_CALL_SECONDS * SAMPLE_RATE / (size * HOP_SAMPLES)))
        for first in range(0, len(group), max_windows):
            yield group[first : first + max_windows]


def _pad_features(features: MelFeatures) -> MelFeatures:
    missing = -features.log_mel.shape[2] % PADDING_MULTIPLE
    return MelFeatures(np.pad(features.log_mel, ((0, 0), (0, 0), (0, missing))), features.frame_counts)

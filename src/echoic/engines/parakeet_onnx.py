"""NVIDIA's Parakeet (TDT and RNNT) by onnxruntime, with the decoder's state carried from window to window.

The encoder sees left | new | right; the decoder walks the new frames only and goes on where it stood, so no
text is ever merged. Frames lie on a grid of 80 ms that begins with the stretch of audio: a window's left
context is cut so that its first frame lies on the grid, and a frame that the new part ends in is left to the
next window. After a window that is the last for a while the grid begins anew.

A window is padded to a multiple of its own (``PADDING``), never to its neighbour's length, and only windows
of equal padded length are encoded together: so what is heard in a window does not depend on its company.
CTC exports are not read. A language hint is accepted and not needed: v3 finds the language by itself, and v2
and the 110M know English only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from echoic.engines.features import HOP, SAMPLE_RATE, LogMel, frame_count
from echoic.engines.parakeet_files import NAME, look_through, quantized_by_company, unusable
from echoic.engines.transducer import Emission, Transducer, TransducerState, passed, start_state
from echoic.session.window import WindowNeeds
from echoic.text.hypothesis import Hypothesis, Token

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.parakeet_files import ModelFiles
    from echoic.session.window import Window

#: Feature frames to a multiple of which a window is padded: two frames of the encoder.
PADDING = 16
#: NVIDIA's models know five durations: none, and 1 to 4 frames.
MOST_DURATIONS = 16
#: Frames of a lane that one step of decoding asks about: a TDT passes over blanks by itself, an RNNT has one
#: at most frames.
LOOKAHEAD = {"tdt": 2, "rnnt": 8}
#: Digits of a confidence: so many are the same however many lanes were decoded together.
CONFIDENCE_DECIMALS = 3
#: The loudest sample of a window that holds nothing: three steps of 16-bit audio.
SILENCE_PEAK = 1e-4
_LOAD_FAILURES = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may be set.

    Attributes:
        left_context: Seconds before the new part that the encoder sees; one frame (0.08) at least.
        right_context: Seconds after it that the encoder sees; a final says words so much later.
        lanes: The most windows of one call.
        threads: The most calls at the same time.
        cores: Cores that one call uses.
        quantization: The encoder's; None: the fastest that is there.
        together: Encode and decode windows together even where the graph's quantization makes what it says
            of one depend a little on the others.
    """

    left_context: float = 4.0
    right_context: float = 1.0
    lanes: int = 8
    threads: int = 2
    cores: int = 1
    quantization: str | None = None
    together: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Carry:
    """Where a stream stands.

    ``walked`` frames since ``origin`` (seconds on the session's clock) are behind it.
    """

    origin: float
    walked: int
    state: TransducerState


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
    """

    audio: NDArray[np.float32]
    dropped: int
    origin: float
    base: int
    first: int
    edge: int
    end: int
    state: TransducerState


class ParakeetOnnx:
    """Parakeet from a folder of ONNX files (``engines.base.Engine``).

    Args:
        folder: In the layout of ``parakeet_files``.
        tuning: What may be set.

    Raises:
        ModelUnavailable: Something is missing, broken, or does not fit together.
        ValueError: A left context of less than one frame.
    """

    def __init__(self, folder: Path, tuning: Tuning = Tuning()) -> None:
        files = look_through(folder, tuning.quantization)
        self._tuning, self._pieces = tuning, files.pieces
        self._frame = files.subsampling * HOP
        if tuning.left_context * SAMPLE_RATE < self._frame:
            raise ValueError(f"A left context of {tuning.left_context} s is less than one frame.")
        self._features = LogMel(files.bands)
        self._encoder = _session(files.encoder, tuning.cores)
        self._joint = _FusedNetwork(_session(files.joint, tuning.cores))
        self._encodes_together = tuning.together or not quantized_by_company(files.encoder)
        self._start = start_state(len(files.pieces), self._joint.memory)
        self._transducer = Transducer(
            self._joint,
            len(files.pieces),
            range(self._durations(files)),
            lookahead=LOOKAHEAD[files.kind],
            max_symbols=files.max_symbols,
            together=tuning.together or not quantized_by_company(files.joint),
        )

    @property
    def name(self) -> str:
        """The model's own name."""
        return NAME

    @property
    def needs(self) -> WindowNeeds:
        """Contexts on both sides, at 16 kHz."""
        return WindowNeeds(
            "carried",
            sample_rate=SAMPLE_RATE,
            left_context=self._tuning.left_context,
            right_context=self._tuning.right_context,
            times=True,
        )

    @property
    def lanes(self) -> int:
        """The most windows of one ``decode``."""
        return self._tuning.lanes

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
        new = [lane[cut.first : cut.edge] for cut, lane in zip(cuts, frames, strict=True)]
        ahead = [lane[cut.edge : cut.end] for cut, lane in zip(cuts, frames, strict=True)]
        walked = [
            (heard, passed(state, cut.edge - cut.first - len(lane)))
            for cut, lane, (heard, state) in zip(
                cuts, new, self._transducer.decode(new, [cut.state for cut in cuts]), strict=True
            )
        ]
        states = [state for _, state in walked]
        suspected = self._transducer.decode(ahead, states)
        return [
            Hypothesis(
                self._tokens(heard, cut, cut.first),
                self._tokens(later, cut, cut.edge),
                self._carry(window, cut, state),
            )
            for window, cut, (heard, state), (later, _) in zip(windows, cuts, walked, suspected, strict=True)
        ]

    def close(self) -> None:
        """Release the weights."""
        del self._encoder, self._joint, self._transducer

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
        return _Cut(audio, dropped, origin, base, first, min(max(edge, first), end), end, state)

    def _resumed(self, carry: _Carry | None, base: int, frame: int) -> tuple[int, TransducerState]:
        """Return the first frame to walk and the state there; audio in between may have been left out."""
        if carry is None:
            return frame, self._start
        walked = carry.walked - base
        if frame - walked <= 1:
            return max(walked, 0), carry.state
        return frame, passed(carry.state, frame - walked)

    def _carry(self, window: Window, cut: _Cut, state: TransducerState) -> _Carry:
        if window.last:
            return _Carry(window.start + len(window.audio) / SAMPLE_RATE, 0, state)
        return _Carry(cut.origin, cut.base + cut.edge, state)

    def _encode(self, cuts: Sequence[_Cut]) -> list[NDArray[np.float32]]:
        """Return the encoder's frames of each window, shape ``(frames, width)``; none of silent ones."""
        frames: list[NDArray[np.float32]] = [np.zeros((0, self._joint.width), np.float32)] * len(cuts)
        groups: dict[int, list[int]] = {}
        for number, cut in enumerate(cuts):
            if cut.end and float(np.abs(cut.audio).max()) >= SILENCE_PEAK:
                size = math.ceil(frame_count(len(cut.audio)) / PADDING) * PADDING
                groups.setdefault(size if self._encodes_together else -number, []).append(number)
        for group in groups.values():
            encoded = self._encode_equal([cuts[number].audio for number in group])
            for number, lane in zip(group, encoded, strict=True):
                frames[number] = lane[: cuts[number].end]
        return frames

    def _encode_equal(self, audio: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        features = self._features(audio)
        missing = -features.bands.shape[2] % PADDING
        bands = np.pad(features.bands, ((0, 0), (0, 0), (0, missing)))
        (encoded,) = self._encoder.run(["outputs"], {"audio_signal": bands, "length": features.frames})
        return np.ascontiguousarray(encoded.transpose(0, 2, 1))

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

    def _durations(self, files: ModelFiles) -> int:
        """Return how many durations the network knows, after a look whether all parts fit together."""
        bands = self._encoder.get_inputs()[0].shape[1]
        if isinstance(bands, int) and bands != files.bands:
            raise unusable(f"{files.encoder} wants {bands} mel bands, but config.json says {files.bands}.")
        width = self._encoder.get_outputs()[0].shape[1]
        if isinstance(width, int) and width != self._joint.width:
            raise unusable(
                f"{files.encoder.name} and {files.joint.name} are not of one model: {width} values a frame "
                f"against {self._joint.width}."
            )
        durations = self._joint.outputs - len(files.pieces) - 1
        if not (1 <= durations <= MOST_DURATIONS if files.kind == "tdt" else durations == 0):
            raise unusable(
                f"vocab.txt and {files.joint.name} are not of one {files.kind.upper()} model: "
                f"{len(files.pieces)} pieces and a blank against {self._joint.outputs} outputs."
            )
        return durations


class _FusedNetwork:
    """Prediction and joint network in one graph (``transducer.Network``)."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        inputs = {one.name: one.shape for one in session.get_inputs()}
        self.width: int = inputs["encoder_outputs"][1]
        self.memory: list[tuple[int, int]] = [
            (shape[0], shape[2]) for name, shape in sorted(inputs.items()) if name.startswith("input_states")
        ]
        self.outputs: int = session.get_outputs()[0].shape[3]

    def __call__(
        self,
        frames: NDArray[np.float32],
        tokens: NDArray[np.int32],
        memory: Sequence[NDArray[np.float32]],
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Return logits and the memory after the tokens."""
        feed = {f"input_states_{number}": part for number, part in enumerate(memory, start=1)}
        logits, *after = self._session.run(
            ["outputs", *(f"output_states_{number}" for number in range(1, len(memory) + 1))],
            {
                "encoder_outputs": frames.transpose(0, 2, 1),
                "targets": tokens[:, np.newaxis],
                "target_length": np.ones(len(tokens), np.int32),
                **feed,
            },
        )
        return logits[:, :, 0], after


#: What each graph takes and gives, by the stem of its file's name.
_INTERFACES = {
    "encoder": ({"audio_signal", "length"}, {"outputs"}),
    "decoder_joint": (
        {"encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2"},
        {"outputs", "output_states_1", "output_states_2"},
    ),
}


def _session(file: Path, cores: int) -> ort.InferenceSession:
    """Load a graph.

    Raises:
        ModelUnavailable: It cannot be loaded, or takes or gives something else.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except _LOAD_FAILURES as failure:
        raise unusable(
            f"{file} cannot be loaded: it is cut off or damaged, a file beside it (.data) is missing, or it "
            f"needs another onnxruntime than {ort.__version__}."
        ) from failure
    takes, gives = _INTERFACES[file.name.partition("-")[0]]
    found = {one.name for one in session.get_inputs()}, {one.name for one in session.get_outputs()}
    if not takes <= found[0] or not gives <= found[1]:
        raise unusable(f"{file} is not the {file.name.partition('-')[0]} of a NeMo transducer.")
    return session

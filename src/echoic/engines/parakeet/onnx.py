"""Parakeet (TDT, RNNT and CTC) on onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from echoic.engines.onnx_runtime import build_session_options
from echoic.engines.parakeet.decoder import CtcDecoder, TokenDecoder
from echoic.engines.parakeet.engine import Parakeet, ParakeetModel, ParakeetOptions
from echoic.engines.parakeet.features import MelFeatures
from echoic.engines.parakeet.onnx_files import (
    ONNX_MODEL_ID,
    OnnxModelFiles,
    build_onnx_error,
    inspect_onnx_folder,
    uses_dynamic_quantization,
)
from echoic.engines.parakeet.onnx_split import SPLIT_INTERFACES, SplitSessions, SplitTransducer
from echoic.engines.parakeet.transducer import (
    LOOKAHEAD,
    DecoderLane,
    LogitsJointOutput,
    Transducer,
    stack_frames,
)

_log = logging.getLogger(__name__)
#: The most duration outputs of a TDT; NVIDIA's models have five (0 to 4 frames).
MAX_DURATIONS = 16
_LOAD_ERRORS = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)
#: Inputs and outputs of each graph.
_ENCODER_INTERFACE = ({"audio_signal", "length"}, {"outputs"})
_CTC_INTERFACE = ({"audio_signal", "length"}, {"logprobs"})
_FUSED_INTERFACE = (
    {"encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2"},
    {"outputs", "output_states_1", "output_states_2"},
)


@dataclass(frozen=True, slots=True)
class OnnxOptions:
    """Options of onnxruntime."""

    #: Quantization of the encoder. None means the fastest in the folder.
    quantization: str | None = None
    #: Cores that one call uses.
    cores: int = 1
    #: onnxruntime's names of the execution providers, in order of preference.
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    #: Whether to batch windows even with dynamic quantization, where the output depends slightly on the
    #: batch.
    allow_batching: bool = False


class ParakeetOnnx(Parakeet):
    """Parakeet from a folder of ONNX files (implements ``Engine``).

    Args:
        folder: In the layout of ``onnx_files``.
        options: Options of every Parakeet. None means the defaults.
        onnx_options: Options of onnxruntime. None means the defaults.

    Raises:
        ModelUnavailable: A file is missing or broken, or the files do not belong together.
        ValueError: The left context is less than one frame.
    """

    def __init__(
        self, folder: Path, options: ParakeetOptions | None = None, onnx_options: OnnxOptions | None = None
    ) -> None:
        onnx_options = onnx_options or OnnxOptions()
        files = inspect_onnx_folder(folder, onnx_options.quantization)
        if files.outdated_reason:
            _log.warning("optimized_outdated folder=%s reason=%s", folder, files.outdated_reason)
        super().__init__(load_onnx_model(files, onnx_options), options or ParakeetOptions())


def load_onnx_model(files: OnnxModelFiles, onnx_options: OnnxOptions) -> ParakeetModel:
    """Load the files of a model.

    Raises:
        ModelUnavailable: A file is broken, or the files do not belong together.
    """
    encoder = _OnnxEncoder(files, onnx_options)
    decoder = (
        _build_ctc_decoder(files, encoder)
        if files.kind == "ctc"
        else _build_transducer(files, encoder, onnx_options)
    )
    return ParakeetModel(ONNX_MODEL_ID, encoder, decoder, files.pieces, files.bands, files.subsampling)


class _OnnxEncoder:
    """The graph of the encoder (implements ``ParakeetEncoder``); a CTC export includes its head."""

    def __init__(self, files: OnnxModelFiles, onnx_options: OnnxOptions) -> None:
        interface = _CTC_INTERFACE if files.kind == "ctc" else _ENCODER_INTERFACE
        self._session = _load_session(files.encoder, onnx_options, interface, "encoder")
        (self._output_name,) = interface[1]
        self.can_batch = onnx_options.allow_batching or not uses_dynamic_quantization(files.encoder)
        bands = self._session.get_inputs()[0].shape[1]
        if isinstance(bands, int) and bands != files.bands:
            raise build_onnx_error(
                f"{files.encoder} takes {bands} mel bands, but config.json says {files.bands}."
            )
        width = self._session.get_outputs()[0].shape[2 if files.kind == "ctc" else 1]
        self.frame_width: int | None = width if isinstance(width, int) else None
        self._transposes_output = files.kind != "ctc"

    def encode(self, features: MelFeatures) -> Sequence[NDArray[np.float32]]:
        """Return shape ``(frames, width)`` for each window."""
        feed = {"audio_signal": features.log_mel, "length": features.frame_counts}
        (encoded,) = self._session.run([self._output_name], feed)
        return list(np.ascontiguousarray(encoded.transpose(0, 2, 1)) if self._transposes_output else encoded)


class _FusedNetwork:
    """The published graph of prediction and joint network in one (implements ``TransducerNetwork``).

    The prediction network runs in each step, although its output changes only after a token.
    """

    def __init__(self, session: ort.InferenceSession, blank: int) -> None:
        self._session, self._blank = session, blank
        inputs = {argument.name: argument.shape for argument in session.get_inputs()}
        self.frame_width: int = inputs["encoder_outputs"][1]
        self.output_count: int = session.get_outputs()[0].shape[3]
        self._durations = range(self.output_count - blank - 1)
        self._state_shapes = [
            (shape[0], shape[2]) for name, shape in sorted(inputs.items()) if name.startswith("input_states")
        ]

    def build_initial_state(self) -> tuple[NDArray[np.float32], ...]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        return tuple(np.zeros(shape, np.float32) for shape in self._state_shapes)

    def score_frames(
        self, frames: Sequence[NDArray[np.float32]], lanes: Sequence[DecoderLane]
    ) -> LogitsJointOutput:
        """Return the scores of the next frames of each lane, given its last token."""
        states = [
            np.stack(parts, axis=1) for parts in zip(*(lane.predictor_state for lane in lanes), strict=True)
        ]
        feed = {f"input_states_{number}": part for number, part in enumerate(states, start=1)}
        logits, *next_states = self._session.run(
            ["outputs", *(f"output_states_{number}" for number in range(1, len(states) + 1))],
            {
                "encoder_outputs": np.ascontiguousarray(stack_frames(frames).transpose(0, 2, 1)),
                "targets": np.array([[lane.last_token] for lane in lanes], np.int32),
                "target_length": np.ones(len(lanes), np.int32),
                **feed,
            },
        )
        return LogitsJointOutput(
            logits[:, :, 0],
            self._blank,
            self._durations,
            lambda lane: tuple(part[:, lane] for part in next_states),
        )


def _build_ctc_decoder(files: OnnxModelFiles, encoder: _OnnxEncoder) -> TokenDecoder:
    if encoder.frame_width not in {None, len(files.pieces) + 1}:
        raise build_onnx_error(
            f"vocab.txt and {files.encoder.name} do not belong to one CTC model: {len(files.pieces)} pieces "
            f"and a blank against {encoder.frame_width} outputs."
        )
    return CtcDecoder(len(files.pieces))


def _build_transducer(
    files: OnnxModelFiles, encoder: _OnnxEncoder, onnx_options: OnnxOptions
) -> TokenDecoder:
    """Return the decoder of a TDT or RNNT; checks that all parts belong together."""
    blank, lookahead = len(files.pieces), LOOKAHEAD[files.kind]
    if files.split_joint is not None:
        graphs = zip(files.split_joint, SPLIT_INTERFACES.items(), strict=True)
        sessions = SplitSessions(
            *(_load_session(file, onnx_options, interface, part) for file, (part, interface) in graphs)
        )
        _check_dimensions(files, encoder, sessions.frame_width, sessions.output_count)
        return SplitTransducer(sessions, blank, lookahead=lookahead, max_symbols=files.max_symbols)
    assert files.joint is not None  # noqa: S101  # ``inspect_onnx_folder`` finds one of both
    network = _FusedNetwork(
        _load_session(files.joint, onnx_options, _FUSED_INTERFACE, "decoder_joint"), blank
    )
    _check_dimensions(files, encoder, network.frame_width, network.output_count)
    return Transducer(
        network,
        blank,
        lookahead=lookahead,
        max_symbols=files.max_symbols,
        allow_batching=onnx_options.allow_batching or not uses_dynamic_quantization(files.joint),
    )


def _check_dimensions(
    files: OnnxModelFiles, encoder: _OnnxEncoder, frame_width: int, output_count: int
) -> None:
    """Check that the encoder, the decoding networks and the vocabulary belong to one model."""
    networks = (files.joint or (files.split_joint or (files.encoder,))[-1]).name
    if encoder.frame_width not in {None, frame_width}:
        raise build_onnx_error(
            f"{files.encoder.name} and {networks} do not belong to one model: {encoder.frame_width} values "
            f"per frame against {frame_width}."
        )
    durations = output_count - len(files.pieces) - 1
    if not (1 <= durations <= MAX_DURATIONS if files.kind == "tdt" else durations == 0):
        raise build_onnx_error(
            f"vocab.txt and {networks} do not belong to one {files.kind.upper()} model: {len(files.pieces)} "
            f"pieces and a blank against {output_count} outputs."
        )


def _load_session(
    file: Path, onnx_options: OnnxOptions, interface: tuple[set[str], set[str]], graph_name: str
) -> ort.InferenceSession:
    """Load a graph.

    Raises:
        ModelUnavailable: The graph cannot be loaded, or has other inputs or outputs.
    """
    options = build_session_options(onnx_options.cores)
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(file, options, providers=list(onnx_options.providers))
    except _LOAD_ERRORS as failure:
        raise build_onnx_error(
            f"{file} cannot be loaded: it is cut off or damaged, a file beside it (.data) is missing, or it "
            f"needs another onnxruntime than {ort.__version__}."
        ) from failure
    inputs = {argument.name for argument in session.get_inputs()}
    outputs = {output.name for output in session.get_outputs()}
    if not interface[0] <= inputs or not interface[1] <= outputs:
        raise build_onnx_error(f"{file} is not the {graph_name} of a NeMo model.")
    return session

"""Parakeet (TDT, RNNT and CTC) by onnxruntime."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from echoic.engines.ctc import Ctc
from echoic.engines.parakeet import Model, Parakeet, Tuning
from echoic.engines.parakeet_cut import INTERFACES, CutSessions, CutTransducer
from echoic.engines.parakeet_files import NAME, look_through, quantized_by_company, unusable
from echoic.engines.transducer import LOOKAHEAD, Lane, Scores, Transducer, stacked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from echoic.engines.decoder import Decoder
    from echoic.engines.features import Features
    from echoic.engines.parakeet_files import ModelFiles

_log = logging.getLogger(__name__)
#: NVIDIA's models know five durations: none, and 1 to 4 frames.
MOST_DURATIONS = 16
_LOAD_FAILURES = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)
#: What each graph takes and gives.
_ENCODER = ({"audio_signal", "length"}, {"outputs"})
_CTC = ({"audio_signal", "length"}, {"logprobs"})
_FUSED = (
    {"encoder_outputs", "targets", "target_length", "input_states_1", "input_states_2"},
    {"outputs", "output_states_1", "output_states_2"},
)


@dataclass(frozen=True, slots=True)
class Runtime:
    """How onnxruntime runs.

    Attributes:
        quantization: The encoder's; None: the fastest that is there.
        cores: Cores that one call uses.
        providers: Its execution providers, the best first.
        together: Encode and decode windows together even where the graph's quantization makes what it says
            of one depend a little on the others.
    """

    quantization: str | None = None
    cores: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    together: bool = False


class ParakeetOnnx(Parakeet):
    """Parakeet from a folder of ONNX files (``engines.base.Engine``).

    Args:
        folder: In the layout of ``parakeet_files``.
        tuning: What may be set of every Parakeet.
        runtime: How onnxruntime runs.

    Raises:
        ModelUnavailable: Something is missing, broken, or does not fit together.
        ValueError: A left context of less than one frame.
    """

    def __init__(self, folder: Path, tuning: Tuning | None = None, runtime: Runtime | None = None) -> None:
        runtime = runtime or Runtime()
        files = look_through(folder, runtime.quantization)
        if files.outdated:
            _log.warning("optimized_outdated folder=%s reason=%s", folder, files.outdated)
        super().__init__(load_model(files, runtime), tuning or Tuning())


def load_model(files: ModelFiles, runtime: Runtime) -> Model:
    """Load the files of a model.

    Raises:
        ModelUnavailable: Something is broken, or does not fit together.
    """
    encoder = _Encoder(files, runtime)
    decoder = _ctc(files, encoder) if files.kind == "ctc" else _transducer(files, encoder, runtime)
    return Model(NAME, encoder, decoder, files.pieces, files.bands, files.subsampling)


class _Encoder:
    """The encoder's graph (``parakeet.Encoder``); a CTC export has its head behind it."""

    def __init__(self, files: ModelFiles, runtime: Runtime) -> None:
        interface = _CTC if files.kind == "ctc" else _ENCODER
        self._session = _session(files.encoder, runtime, interface, "encoder")
        (self._output,) = interface[1]
        self.together = runtime.together or not quantized_by_company(files.encoder)
        bands = self._session.get_inputs()[0].shape[1]
        if isinstance(bands, int) and bands != files.bands:
            raise unusable(f"{files.encoder} wants {bands} mel bands, but config.json says {files.bands}.")
        width = self._session.get_outputs()[0].shape[2 if files.kind == "ctc" else 1]
        self.width: int | None = width if isinstance(width, int) else None
        self._turned = files.kind != "ctc"

    def encode(self, features: Features) -> Sequence[NDArray[np.float32]]:
        """Return shape ``(frames, width)`` for each window."""
        feed = {"audio_signal": features.bands, "length": features.frames}
        (encoded,) = self._session.run([self._output], feed)
        return list(np.ascontiguousarray(encoded.transpose(0, 2, 1)) if self._turned else encoded)


class _FusedNetwork:
    """Prediction and joint network in one graph, as it is published (``transducer.Network``).

    The prediction network runs again with each step although only a token changes its answer.
    """

    def __init__(self, session: ort.InferenceSession, blank: int) -> None:
        self._session, self._blank = session, blank
        inputs = {one.name: one.shape for one in session.get_inputs()}
        self.width: int = inputs["encoder_outputs"][1]
        self.outputs: int = session.get_outputs()[0].shape[3]
        self._durations = range(self.outputs - blank - 1)
        self._shapes = [
            (shape[0], shape[2]) for name, shape in sorted(inputs.items()) if name.startswith("input_states")
        ]

    def start(self) -> tuple[NDArray[np.float32], ...]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        return tuple(np.zeros(shape, np.float32) for shape in self._shapes)

    def look(self, frames: Sequence[NDArray[np.float32]], lanes: Sequence[Lane]) -> Scores:
        """Return what the frames of each lane say after its token."""
        memory = [np.stack(parts, axis=1) for parts in zip(*(lane.memory for lane in lanes), strict=True)]
        feed = {f"input_states_{number}": part for number, part in enumerate(memory, start=1)}
        logits, *after = self._session.run(
            ["outputs", *(f"output_states_{number}" for number in range(1, len(memory) + 1))],
            {
                "encoder_outputs": np.ascontiguousarray(stacked(frames).transpose(0, 2, 1)),
                "targets": np.array([[lane.token] for lane in lanes], np.int32),
                "target_length": np.ones(len(lanes), np.int32),
                **feed,
            },
        )
        return Scores(
            logits[:, :, 0],
            self._blank,
            self._durations,
            lambda lane: tuple(part[:, lane] for part in after),
        )


def _ctc(files: ModelFiles, encoder: _Encoder) -> Decoder:
    if encoder.width not in {None, len(files.pieces) + 1}:
        raise unusable(
            f"vocab.txt and {files.encoder.name} are not of one CTC model: {len(files.pieces)} pieces and a "
            f"blank against {encoder.width} outputs."
        )
    return Ctc(len(files.pieces))


def _transducer(files: ModelFiles, encoder: _Encoder, runtime: Runtime) -> Decoder:
    """Return the decoder of a TDT or RNNT, after a look whether all parts fit together."""
    blank, lookahead = len(files.pieces), LOOKAHEAD[files.kind]
    if files.cut is not None:
        loaded = zip(files.cut, INTERFACES.items(), strict=True)
        cut = CutSessions(*(_session(file, runtime, takes, part) for file, (part, takes) in loaded))
        _check(files, encoder, cut.width, cut.outputs)
        return CutTransducer(cut, blank, lookahead=lookahead, max_symbols=files.max_symbols)
    assert files.joint is not None  # noqa: S101  # ``look_through`` found one of both
    network = _FusedNetwork(_session(files.joint, runtime, _FUSED, "decoder_joint"), blank)
    _check(files, encoder, network.width, network.outputs)
    return Transducer(
        network,
        blank,
        lookahead=lookahead,
        max_symbols=files.max_symbols,
        together=runtime.together or not quantized_by_company(files.joint),
    )


def _check(files: ModelFiles, encoder: _Encoder, width: int, outputs: int) -> None:
    """Refuse decoding networks that are not of the encoder's model, or not of the vocabulary's."""
    networks = (files.joint or (files.cut or (files.encoder,))[-1]).name
    if encoder.width not in {None, width}:
        raise unusable(
            f"{files.encoder.name} and {networks} are not of one model: {encoder.width} values a frame "
            f"against {width}."
        )
    durations = outputs - len(files.pieces) - 1
    if not (1 <= durations <= MOST_DURATIONS if files.kind == "tdt" else durations == 0):
        raise unusable(
            f"vocab.txt and {networks} are not of one {files.kind.upper()} model: {len(files.pieces)} pieces "
            f"and a blank against {outputs} outputs."
        )


def _session(
    file: Path, runtime: Runtime, interface: tuple[set[str], set[str]], part: str
) -> ort.InferenceSession:
    """Load a graph.

    Raises:
        ModelUnavailable: It cannot be loaded, or takes or gives something else.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = runtime.cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(file, options, providers=list(runtime.providers))
    except _LOAD_FAILURES as failure:
        raise unusable(
            f"{file} cannot be loaded: it is cut off or damaged, a file beside it (.data) is missing, or it "
            f"needs another onnxruntime than {ort.__version__}."
        ) from failure
    takes, gives = interface
    found = {one.name for one in session.get_inputs()}, {one.name for one in session.get_outputs()}
    if not takes <= found[0] or not gives <= found[1]:
        raise unusable(f"{file} is not the {part} of a NeMo model.")
    return session

"""Parakeet (TDT, RNNT and CTC) on Apple's MLX, with the networks of parakeet-mlx.

Only the networks of parakeet-mlx are used. Its features have a frame or two more than those that the model
was trained with, and its streaming mode changes the attention of the loaded model while a stream is open:
neither works for several sessions on one model.

MLX evaluates arrays lazily, and only in the thread that created them. So everything that outlives a call
(weights, decoder states) is evaluated before the call ends. MLX also starts a background thread for each
thread that uses it, and these may abort the program at its exit. So an engine uses MLX from one thread, which
releases its MLX streams before it ends.
Source: https://github.com/senstella/parakeet-mlx; https://github.com/ml-explore/mlx.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import mlx.core as mx
import numpy as np
from dacite import DaciteError
from mlx import nn
from mlx.utils import tree_map
from numpy.typing import NDArray
from parakeet_mlx.utils import from_config

from echoic.engines.daemon_executor import DaemonExecutor
from echoic.engines.parakeet.decoder import CtcDecoder, EncoderFrames, TokenDecoder
from echoic.engines.parakeet.engine import Parakeet, ParakeetModel, ParakeetOptions
from echoic.engines.parakeet.features import SAMPLE_RATE, MelFeatures
from echoic.engines.parakeet.mlx_files import MLX_MODEL_ID, MlxModelFiles, build_mlx_error, inspect_mlx_folder
from echoic.engines.parakeet.nemo_files import DecodingHead, ParakeetArchitecture
from echoic.engines.parakeet.transducer import (
    LOOKAHEAD,
    BaseJointOutput,
    CachingNetwork,
    DecoderLane,
    Prediction,
    Transducer,
    decode_durations,
)
from echoic.interfaces.engine import Hypothesis, Window

#: Samples of the noise that a loaded model decodes as a test: one second.
_WARM_UP_SAMPLES = SAMPLE_RATE
#: Errors that parakeet-mlx and MLX raise for an unusable configuration or unusable weights.
_LOAD_ERRORS = (DaciteError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True)
class MlxOptions:
    """Options of MLX."""

    #: Precision of the encoder. None means ``bfloat16`` on a GPU and ``float32`` on a CPU. The small decoding
    #: networks always use ``float32``.
    precision: Literal["bfloat16", "float16", "float32"] | None = None
    #: Whether to encode and decode windows in batches. If None, only on a CPU. A GPU may add numbers in
    #: another order for larger arrays, so the output for a window could depend on the rest of its batch.
    allow_batching: bool | None = None
    #: The head of a hybrid to use. If None, the transducer is used if there is one.
    head: DecodingHead | None = None


class ParakeetMlx(Parakeet):
    """Parakeet from a folder for MLX (implements ``Engine``).

    It runs on MLX's default device, in its own thread, so calls run one after the other.

    Args:
        folder: In the layout of ``mlx_files``.
        options: Options of every Parakeet; ``max_concurrency`` has no effect. None means the defaults.
        mlx_options: Options of MLX.

    Raises:
        ModelUnavailable: A file is missing or broken, or the files do not belong together.
        ValueError: The left context is less than one frame.
    """

    def __init__(
        self, folder: Path, options: ParakeetOptions | None = None, mlx_options: MlxOptions = MlxOptions()
    ) -> None:
        files = inspect_mlx_folder(folder, mlx_options.head)
        with ExitStack() as cleanup:
            self._executor = DaemonExecutor("echoic-mlx", _release_mlx_resources)
            cleanup.callback(self._executor.shutdown)
            super().__init__(
                self._executor.run_call(_load_mlx_model, files, mlx_options),
                replace(options or ParakeetOptions(), max_concurrency=1),
            )
            self._warm_up()
            cleanup.pop_all()

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window: the new part as committed, the right context as volatile.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return self._executor.run_call(super().decode, windows)

    def close(self) -> None:
        """Release the weights and MLX's memory cache."""
        self._executor.run_call(super().close)
        self._executor.shutdown()

    def _warm_up(self) -> None:
        """Decode a second of noise, so that MLX compiles its kernels before the first request."""
        noise = np.random.default_rng(0).normal(0, 0.1, _WARM_UP_SAMPLES).astype(np.float32)
        try:
            self.decode(
                [
                    Window(
                        noise,
                        SAMPLE_RATE,
                        0.0,
                        left_context=0,
                        new_samples=_WARM_UP_SAMPLES,
                        right_context=0,
                        is_last=True,
                    )
                ]
            )
        except (RuntimeError, ValueError) as failure:
            raise build_mlx_error(
                f"MLX {mx.__version__} cannot run it on {mx.default_device()}.", None
            ) from failure


class _MlxEncoder:
    """The encoder and the next layer, which depends on frames only (implements ``ParakeetEncoder``).

    That layer is the first of the joint network, or a whole CTC head.
    """

    def __init__(self, network: nn.Module, kind: str, *, can_batch: bool) -> None:
        self.can_batch = can_batch
        self._encoder = network.encoder
        self._head = _get_ctc_head(network) if kind == "ctc" else network.joint.enc
        self._precision = network.encoder.layers[0].norm_out.weight.dtype
        self._returns_numpy = kind == "ctc"

    def encode(self, features: MelFeatures) -> Sequence[EncoderFrames]:
        """Return float32, shape ``(frames, width)`` for each window: MLX arrays, or numpy arrays with CTC.

        The encoder does not support padding, so a batch holds only windows with the same number of frames.
        """
        frames: list[EncoderFrames] = [None] * len(features.frame_counts)
        for count in np.unique(features.frame_counts).tolist():
            group = np.flatnonzero(features.frame_counts == count)
            bands = mx.array(features.log_mel[group, :, :count].transpose(0, 2, 1), self._precision)
            encoded = self._head(self._encoder(bands)[0].astype(mx.float32))
            mx.eval(encoded)
            for number, lane in zip(group.tolist(), encoded, strict=True):
                frames[number] = np.array(lane) if self._returns_numpy else lane
        return frames


class _MlxNetwork(CachingNetwork):
    """The prediction network and the joint network."""

    def __init__(self, network: nn.Module, blank: int, duration_values: Sequence[int]) -> None:
        self._blank, self._duration_values = blank, duration_values
        self._embedding = network.decoder.prediction["embed"]
        # The single layers: the stack of parakeet-mlx would treat several lanes as a sequence.
        self._lstm_layers = network.decoder.prediction["dec_rnn"].lstm
        self._prediction_projection, self._joint_layers = network.joint.pred, network.joint.joint_net

    def build_initial_state(self) -> tuple[mx.array, mx.array]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        zeros = mx.zeros((len(self._lstm_layers), self._lstm_layers[0].hidden_size), mx.float32)
        mx.eval(zeros)
        return zeros, zeros

    def _predict(self, lanes: Sequence[DecoderLane]) -> list[Prediction]:
        """Return a projection of shape ``(joint width,)``, and a state of hidden and cell, for each lane."""
        tokens = mx.array([lane.last_token for lane in lanes])
        output = self._embedding(mx.minimum(tokens, self._blank - 1)) * (tokens != self._blank)[:, None]
        hidden, cell = (
            mx.stack(parts, axis=1) for parts in zip(*(lane.predictor_state for lane in lanes), strict=True)
        )
        states: list[tuple[mx.array, mx.array]] = []
        for number, layer in enumerate(self._lstm_layers):
            output, state = (part[:, 0] for part in layer(output[:, None], hidden[number], cell[number]))
            states.append((output, state))
        projected = self._prediction_projection(output)
        hidden, cell = (mx.stack(parts, axis=1) for parts in zip(*states, strict=True))
        predictions = []
        for parts in zip(projected, hidden, cell, strict=True):
            mx.eval(*parts)
            predictions.append(Prediction(parts[0], (parts[1], parts[2])))
        return predictions

    def _join(self, frames: Sequence[mx.array], predictions: Sequence[Prediction]) -> _MlxJointOutput:
        projected = mx.stack([prediction.projected for prediction in predictions])
        joined = _stack_frames(frames) + projected[:, None]
        for layer in self._joint_layers:
            joined = layer(joined)
        return _MlxJointOutput(joined, self._blank, self._duration_values, predictions)


class _MlxJointOutput(BaseJointOutput):
    """A joint output whose scores stay on the device."""

    def __init__(
        self,
        logits: mx.array,
        blank: int,
        duration_values: Sequence[int],
        predictions: Sequence[Prediction],
    ) -> None:
        scores = logits[..., : blank + 1]
        best = mx.argmax(scores, axis=-1)
        probabilities = mx.exp(mx.max(scores, axis=-1) - mx.logsumexp(scores, axis=-1))
        choices = mx.argmax(logits[..., blank + 1 :], axis=-1) if duration_values else mx.zeros_like(best)
        mx.eval(best, probabilities, choices)
        super().__init__(
            best.tolist(),
            decode_durations(np.array(choices), duration_values or (0,)),
            lambda lane: predictions[lane].predictor_state,
        )
        self._scores, self._probabilities = scores, probabilities.tolist()

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the likeliest token, as the device computed it."""
        probability: float = self._probabilities[lane][frame]
        return probability

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""
        return np.array(self._scores[lane, frame])


def _load_mlx_model(files: MlxModelFiles, mlx_options: MlxOptions) -> ParakeetModel:
    """Return the loaded model.

    Raises:
        ModelUnavailable: The weights are broken, or do not belong to the configuration.
    """
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    network = _load_network(files, mlx_options.precision or ("bfloat16" if on_gpu else "float32"))
    can_batch = not on_gpu if mlx_options.allow_batching is None else mlx_options.allow_batching
    architecture = files.architecture
    encoder = _MlxEncoder(network, architecture.kind, can_batch=can_batch)
    decoder = _build_decoder(network, architecture, allow_batching=can_batch)
    return ParakeetModel(
        MLX_MODEL_ID, encoder, decoder, architecture.pieces, architecture.bands, architecture.subsampling
    )


def _release_mlx_resources() -> None:
    """Release MLX's memory cache and the streams of this thread, which cannot use MLX afterwards."""
    mx.clear_cache()
    mx.synchronize()
    mx.clear_streams()


def _load_network(files: MlxModelFiles, precision: str) -> nn.Module:
    """Return the module of parakeet-mlx with its weights.

    Raises:
        ModelUnavailable: The weights cannot be read, or do not belong to the configuration.
    """
    try:
        network = from_config(files.config)
        network.load_weights(str(files.weights))
    except _LOAD_ERRORS as failure:
        raise build_mlx_error(
            f"{files.weights.name} in {files.weights.parent} does not hold the weights that config.json "
            "describes, or parakeet-mlx does not support this architecture."
        ) from failure
    network.update(tree_map(lambda part: part.astype(mx.float32), network.parameters()))
    network.encoder.update(
        tree_map(lambda part: part.astype(getattr(mx, precision)), network.encoder.parameters())
    )
    mx.eval(network.parameters())
    return network


def _get_ctc_head(network: nn.Module) -> nn.Module:
    return network.ctc_decoder if hasattr(network, "ctc_decoder") else network.decoder


def _build_decoder(
    network: nn.Module, architecture: ParakeetArchitecture, *, allow_batching: bool
) -> TokenDecoder:
    blank, durations = len(architecture.pieces), architecture.durations
    if architecture.kind == "ctc":
        return CtcDecoder(blank)
    outputs = network.joint.joint_net[-1].weight.shape[0]
    if outputs != blank + 1 + len(durations):
        raise build_mlx_error(
            f"config.json does not describe a {architecture.kind.upper()}: {blank} pieces, a blank and "
            f"{len(durations)} durations against {outputs} outputs."
        )
    return Transducer(
        _MlxNetwork(network, blank, durations),
        blank,
        lookahead=LOOKAHEAD[architecture.kind],
        max_symbols=architecture.max_symbols,
        allow_batching=allow_batching,
    )


def _stack_frames(frames: Sequence[mx.array]) -> mx.array:
    """Return the frames of several lanes, shape ``(lanes, longest, width)``, padded with zeros."""
    longest = max(len(lane) for lane in frames)
    return mx.stack(
        [mx.pad(lane, ((0, longest - len(lane)), (0, 0))) if len(lane) < longest else lane for lane in frames]
    )

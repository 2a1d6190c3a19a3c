"""Parakeet (TDT, RNNT and CTC) by Apple's MLX, with the networks that parakeet-mlx defines.

Of parakeet-mlx only the networks are taken. Its features have a frame or two more than those that the model
was trained with, and its stream changes the attention of the loaded model for as long as it is open: neither
would do for several sessions on one model.

MLX computes late, and only the thread that asked for an array can compute it. So all that outlives a call
(weights, and what a session carries from window to window) is computed before the call ends. Each thread that
asked gets a stream with a thread behind it that outlives the first, and the program may be aborted at its end
for that; so an engine asks from one thread, which takes leave of its streams before it ends.
Source: https://github.com/senstella/parakeet-mlx; https://github.com/ml-explore/mlx.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

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
from echoic.engines.parakeet.nemo_files import DecodingHead
from echoic.engines.parakeet.transducer import LOOKAHEAD, DecoderLane, Transducer
from echoic.interfaces.engine import Hypothesis, Window

#: Samples of the noise that a loaded model is tried on: one second.
_WARM_UP_SAMPLES = SAMPLE_RATE
#: What parakeet-mlx and MLX raise of a configuration or weights that they cannot use.
_LOAD_ERRORS = (DaciteError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True)
class MlxOptions:
    """How MLX runs.

    Attributes:
        precision: The encoder's; None: ``bfloat16`` on a GPU and ``float32`` on a CPU. The networks that
            decode are small and always have ``float32``.
        allow_batching: Encode and decode windows together; None: on a CPU only. A GPU may add up in another order
            when it has more to add up, so what it says of a window could depend on those beside it.
        head: The head to use of a hybrid; None: the transducer, where there is one.
    """

    precision: Literal["bfloat16", "float16", "float32"] | None = None
    allow_batching: bool | None = None
    head: DecodingHead | None = None


class ParakeetMlx(Parakeet):
    """Parakeet from a folder for MLX (``engines.base.Engine``).

    It runs on MLX's default device, in a thread of its own, and so one call after the other.

    Args:
        folder: In the layout of ``parakeet_mlx_files``.
        options: What may be set of every Parakeet, but for ``threads``; None: all as usual.
        mlx_options: How MLX runs.

    Raises:
        ModelUnavailable: Something is missing, broken, or does not fit together.
        ValueError: A left context of less than one frame.
    """

    def __init__(
        self, folder: Path, options: ParakeetOptions | None = None, mlx_options: MlxOptions = MlxOptions()
    ) -> None:
        files = inspect_mlx_folder(folder, mlx_options.head)
        with ExitStack() as undo:
            self._executor = DaemonExecutor("echoic-mlx", _release_mlx_resources)
            undo.callback(self._executor.shutdown)
            super().__init__(
                self._executor.run_call(_load_mlx_model, files, mlx_options),
                replace(options or ParakeetOptions(), max_concurrency=1),
            )
            self._warm_up()
            undo.pop_all()

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window's new part, and as volatile those of its right context.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return self._executor.run_call(super().decode, windows)

    def close(self) -> None:
        """Release the weights, and the memory that MLX keeps for later."""
        self._executor.run_call(super().close)
        self._executor.shutdown()

    def _warm_up(self) -> None:
        """Decode a little noise, so that MLX compiles its kernels now and not in front of a client."""
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
    """The encoder (``parakeet.Encoder``), and what can be computed of all frames at once.

    That is the first layer of the joint network, or a whole CTC head.
    """

    def __init__(self, network: nn.Module, kind: str, *, can_batch: bool) -> None:
        self.can_batch = can_batch
        self._encoder = network.encoder
        self._head = _get_ctc_head(network) if kind == "ctc" else network.joint.enc
        self._precision = network.encoder.layers[0].norm_out.weight.dtype
        self._returns_numpy = kind == "ctc"

    def encode(self, features: MelFeatures) -> Sequence[EncoderFrames]:
        """Return float32, shape ``(frames, width)`` for each window: arrays of MLX, or of numpy with CTC.

        MLX's encoder knows no padding, so a window has its own frames only, and is computed together with
        those that have as many.
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


class _MlxPrediction(NamedTuple):
    """What the prediction network makes of a lane's token.

    Attributes:
        projected: What the joint network adds to each frame, shape ``(joint width,)``.
        predictor_state: The prediction network's state after the token: hidden and cell, a row for each layer.
    """

    projected: mx.array
    predictor_state: tuple[mx.array, mx.array]


class _MlxNetwork:
    """Prediction and joint network (``transducer.Network``).

    Only a token makes the prediction network run; all lanes go through the joint network together.
    """

    def __init__(self, network: nn.Module, blank: int, durations: Sequence[int]) -> None:
        self._blank, self._durations = blank, durations
        self._embedding = network.decoder.prediction["embed"]
        # The layers themselves: parakeet-mlx's stack of them takes several lanes for moments of one.
        self._lstm_layers = network.decoder.prediction["dec_rnn"].lstm
        self._prediction_projection, self._joint_layers = network.joint.pred, network.joint.joint_net

    def build_initial_state(self) -> tuple[mx.array, mx.array]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        zeros = mx.zeros((len(self._lstm_layers), self._lstm_layers[0].hidden_size), mx.float32)
        mx.eval(zeros)
        return zeros, zeros

    def score_frames(self, frames: Sequence[mx.array], lanes: Sequence[DecoderLane]) -> _MlxJointOutput:
        """Return what the frames of each lane say after its token."""
        fresh = [lane for lane in lanes if lane.prediction is None]
        if fresh:
            self._update_predictions(fresh)
        ahead = [lane.prediction for lane in lanes if isinstance(lane.prediction, _MlxPrediction)]
        joined = _stack_frames(frames) + mx.stack([one.projected for one in ahead])[:, None]
        for layer in self._joint_layers:
            joined = layer(joined)
        return _MlxJointOutput(joined, self._blank, self._durations, ahead)

    def _update_predictions(self, lanes: Sequence[DecoderLane]) -> None:
        """Run the prediction network for lanes with a new token."""
        tokens = mx.array([lane.last_token for lane in lanes])
        said = self._embedding(mx.minimum(tokens, self._blank - 1)) * (tokens != self._blank)[:, None]
        hidden, cell = (
            mx.stack(parts, axis=1) for parts in zip(*(lane.predictor_state for lane in lanes), strict=True)
        )
        after: list[tuple[mx.array, mx.array]] = []
        for number, layer in enumerate(self._lstm_layers):
            said, state = (part[:, 0] for part in layer(said[:, None], hidden[number], cell[number]))
            after.append((said, state))
        projected = self._prediction_projection(said)
        hidden, cell = (mx.stack(parts, axis=1) for parts in zip(*after, strict=True))
        for lane, *parts in zip(lanes, projected, hidden, cell, strict=True):
            mx.eval(parts)
            lane.prediction = _MlxPrediction(parts[0], (parts[1], parts[2]))


class _MlxJointOutput:
    """What the networks say of some frames (``transducer.Verdict``); only that leaves the device."""

    def __init__(
        self, logits: mx.array, blank: int, durations: Sequence[int], predictions: Sequence[_MlxPrediction]
    ) -> None:
        scores = logits[..., : blank + 1]
        best = mx.argmax(scores, axis=-1)
        sure = mx.exp(mx.max(scores, axis=-1) - mx.logsumexp(scores, axis=-1))
        lasts = mx.argmax(logits[..., blank + 1 :], axis=-1) if durations else mx.zeros_like(best)
        mx.eval(best, sure, lasts)
        self.best_tokens: list[list[int]] = best.tolist()
        self._probabilities: list[list[float]] = sure.tolist()
        self.durations: list[list[int]] = np.asarray(durations or (0,))[np.array(lasts)].tolist()
        self._scores, self._predictions = scores, predictions

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        return self._probabilities[lane][frame]

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        return np.array(self._scores[lane, frame])

    def get_predictor_state(self, lane: int) -> tuple[mx.array, mx.array]:
        """Return the prediction network's state after the lane's token."""
        return self._predictions[lane].predictor_state


def _load_mlx_model(files: MlxModelFiles, mlx_options: MlxOptions) -> ParakeetModel:
    """Return the loaded model.

    Raises:
        ModelUnavailable: Something is broken, or does not fit together.
    """
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    network = _load_network(files, mlx_options.precision or ("bfloat16" if on_gpu else "float32"))
    together = not on_gpu if mlx_options.allow_batching is None else mlx_options.allow_batching
    found = files.architecture
    encoder = _MlxEncoder(network, found.kind, can_batch=together)
    decoder = _build_decoder(network, files, allow_batching=together)
    return ParakeetModel(MLX_MODEL_ID, encoder, decoder, found.pieces, found.bands, found.subsampling)


def _release_mlx_resources() -> None:
    """Give back what MLX keeps for this process and this thread; the last that a thread may ask of MLX."""
    mx.clear_cache()
    mx.synchronize()
    mx.clear_streams()


def _load_network(files: MlxModelFiles, precision: str) -> nn.Module:
    """Return parakeet-mlx's module with its weights.

    Raises:
        ModelUnavailable: The weights cannot be read, or are not those of the configuration.
    """
    try:
        network = from_config(files.config)
        network.load_weights(str(files.weights))
    except _LOAD_ERRORS as failure:
        raise build_mlx_error(
            f"{files.weights.name} in {files.weights.parent} does not hold the weights that config.json "
            "describes, or parakeet-mlx does not know this architecture."
        ) from failure
    precise = tree_map(lambda part: part.astype(mx.float32), network.parameters())
    network.update(precise)
    network.encoder.update(
        tree_map(lambda part: part.astype(getattr(mx, precision)), network.encoder.parameters())
    )
    mx.eval(network.parameters())
    return network


def _get_ctc_head(network: nn.Module) -> nn.Module:
    return network.ctc_decoder if hasattr(network, "ctc_decoder") else network.decoder


def _build_decoder(network: nn.Module, files: MlxModelFiles, *, allow_batching: bool) -> TokenDecoder:
    found = files.architecture
    if found.kind == "ctc":
        return CtcDecoder(len(found.pieces))
    blank = len(found.pieces)
    outputs = network.joint.joint_net[-1].weight.shape[0]
    if outputs != blank + 1 + len(found.durations):
        raise build_mlx_error(
            f"config.json describes no {found.kind.upper()}: {blank} pieces, a blank and "
            f"{len(found.durations)} durations against {outputs} outputs."
        )
    return Transducer(
        _MlxNetwork(network, blank, found.durations),
        blank,
        lookahead=LOOKAHEAD[found.kind],
        max_symbols=found.max_symbols,
        allow_batching=allow_batching,
    )


def _stack_frames(frames: Sequence[mx.array]) -> mx.array:
    """Return several lanes' frames as one array, shape ``(lanes, most, width)``, zeros after a lane's."""
    most = max(len(one) for one in frames)
    return mx.stack(
        [mx.pad(one, ((0, most - len(one)), (0, 0))) if len(one) < most else one for one in frames]
    )

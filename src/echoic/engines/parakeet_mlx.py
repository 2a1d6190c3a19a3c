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

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import mlx.core as mx
import numpy as np
from dacite import DaciteError
from mlx.utils import tree_map
from parakeet_mlx.utils import from_config

from echoic.engines.ctc import Ctc
from echoic.engines.features import SAMPLE_RATE
from echoic.engines.own_thread import OwnThread
from echoic.engines.parakeet import Model, Parakeet, Tuning
from echoic.engines.parakeet_mlx_files import NAME, look_through, unusable
from echoic.engines.transducer import LOOKAHEAD, Transducer
from echoic.session.window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlx import nn
    from numpy.typing import NDArray

    from echoic.engines.decoder import Decoder, Frames
    from echoic.engines.features import Features
    from echoic.engines.parakeet_mlx_files import MlxFiles
    from echoic.engines.parakeet_nemo_files import Head
    from echoic.engines.transducer import Lane
    from echoic.text.hypothesis import Hypothesis

#: Samples of the noise that a loaded model is tried on: one second.
_TRIAL = SAMPLE_RATE
#: What parakeet-mlx and MLX raise of a configuration or weights that they cannot use.
_LOAD_FAILURES = (DaciteError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True)
class Runtime:
    """How MLX runs.

    Attributes:
        precision: The encoder's; None: ``bfloat16`` on a GPU and ``float32`` on a CPU. The networks that
            decode are small and always have ``float32``.
        together: Encode and decode windows together; None: on a CPU only. A GPU may add up in another order
            when it has more to add up, so what it says of a window could depend on those beside it.
        head: The head to use of a hybrid; None: the transducer, where there is one.
    """

    precision: Literal["bfloat16", "float16", "float32"] | None = None
    together: bool | None = None
    head: Head | None = None


class ParakeetMlx(Parakeet):
    """Parakeet from a folder for MLX (``engines.base.Engine``).

    It runs on MLX's default device, in a thread of its own, and so one call after the other.

    Args:
        folder: In the layout of ``parakeet_mlx_files``.
        tuning: What may be set of every Parakeet, but for ``threads``; None: all as usual.
        runtime: How MLX runs.

    Raises:
        ModelUnavailable: Something is missing, broken, or does not fit together.
        ValueError: A left context of less than one frame.
    """

    def __init__(self, folder: Path, tuning: Tuning | None = None, runtime: Runtime = Runtime()) -> None:
        files = look_through(folder, runtime.head)
        with ExitStack() as undo:
            self._thread = OwnThread("echoic-mlx", _leave)
            undo.callback(self._thread.end)
            super().__init__(self._thread.run(_load, files, runtime), replace(tuning or Tuning(), threads=1))
            self._try()
            undo.pop_all()

    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        """Return the tokens of each window's new part, and as volatile those of its right context.

        Raises:
            ValueError: A window is not at 16 kHz.
        """
        return self._thread.run(super().decode, windows)

    def close(self) -> None:
        """Release the weights, and the memory that MLX keeps for later."""
        self._thread.run(super().close)
        self._thread.end()

    def _try(self) -> None:
        """Decode a little noise, so that MLX compiles its kernels now and not in front of a client."""
        noise = np.random.default_rng(0).normal(0, 0.1, _TRIAL).astype(np.float32)
        try:
            self.decode([Window(noise, SAMPLE_RATE, 0.0, left=0, new=_TRIAL, right=0, last=True)])
        except (RuntimeError, ValueError) as failure:
            raise unusable(f"MLX {mx.__version__} cannot run it on {mx.default_device()}.", None) from failure


class _Encoder:
    """The encoder (``parakeet.Encoder``), and what can be computed of all frames at once.

    That is the first layer of the joint network, or a whole CTC head.
    """

    def __init__(self, network: nn.Module, kind: str, *, together: bool) -> None:
        self.together = together
        self._encoder = network.encoder
        self._head = _ctc_head(network) if kind == "ctc" else network.joint.enc
        self._precision = network.encoder.layers[0].norm_out.weight.dtype
        self._in_numpy = kind == "ctc"

    def encode(self, features: Features) -> Sequence[Frames]:
        """Return float32, shape ``(frames, width)`` for each window: arrays of MLX, or of numpy with CTC.

        MLX's encoder knows no padding, so a window has its own frames only, and is computed together with
        those that have as many.
        """
        frames: list[Frames] = [None] * len(features.frames)
        for count in np.unique(features.frames).tolist():
            group = np.flatnonzero(features.frames == count)
            bands = mx.array(features.bands[group, :, :count].transpose(0, 2, 1), self._precision)
            encoded = self._head(self._encoder(bands)[0].astype(mx.float32))
            mx.eval(encoded)
            for number, lane in zip(group.tolist(), encoded, strict=True):
                frames[number] = np.array(lane) if self._in_numpy else lane
        return frames


class _Ahead(NamedTuple):
    """What the prediction network makes of a lane's token.

    Attributes:
        said: What the joint network adds to each frame, shape ``(joint width,)``.
        memory: The prediction network's state after the token: hidden and cell, a row for each layer.
    """

    said: mx.array
    memory: tuple[mx.array, mx.array]


class _Network:
    """Prediction and joint network (``transducer.Network``).

    Only a token makes the prediction network run; all lanes go through the joint network together.
    """

    def __init__(self, network: nn.Module, blank: int, durations: Sequence[int]) -> None:
        self._blank, self._durations = blank, durations
        self._embed = network.decoder.prediction["embed"]
        # The layers themselves: parakeet-mlx's stack of them takes several lanes for moments of one.
        self._layers = network.decoder.prediction["dec_rnn"].lstm
        self._said, self._rest = network.joint.pred, network.joint.joint_net

    def start(self) -> tuple[mx.array, mx.array]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        zeros = mx.zeros((len(self._layers), self._layers[0].hidden_size), mx.float32)
        mx.eval(zeros)
        return zeros, zeros

    def look(self, frames: Sequence[mx.array], lanes: Sequence[Lane]) -> _Verdict:
        """Return what the frames of each lane say after its token."""
        fresh = [lane for lane in lanes if lane.ahead is None]
        if fresh:
            self._predict(fresh)
        ahead = [lane.ahead for lane in lanes if isinstance(lane.ahead, _Ahead)]
        joined = _stacked(frames) + mx.stack([one.said for one in ahead])[:, None]
        for layer in self._rest:
            joined = layer(joined)
        return _Verdict(joined, self._blank, self._durations, ahead)

    def _predict(self, lanes: Sequence[Lane]) -> None:
        """Run the prediction network for lanes with a new token."""
        tokens = mx.array([lane.token for lane in lanes])
        said = self._embed(mx.minimum(tokens, self._blank - 1)) * (tokens != self._blank)[:, None]
        hidden, cell = (
            mx.stack(parts, axis=1) for parts in zip(*(lane.memory for lane in lanes), strict=True)
        )
        after: list[tuple[mx.array, mx.array]] = []
        for number, layer in enumerate(self._layers):
            said, state = (part[:, 0] for part in layer(said[:, None], hidden[number], cell[number]))
            after.append((said, state))
        projected = self._said(said)
        hidden, cell = (mx.stack(parts, axis=1) for parts in zip(*after, strict=True))
        for lane, *parts in zip(lanes, projected, hidden, cell, strict=True):
            mx.eval(parts)
            lane.ahead = _Ahead(parts[0], (parts[1], parts[2]))


class _Verdict:
    """What the networks say of some frames (``transducer.Verdict``); only that leaves the device."""

    def __init__(
        self, logits: mx.array, blank: int, durations: Sequence[int], ahead: Sequence[_Ahead]
    ) -> None:
        scores = logits[..., : blank + 1]
        best = mx.argmax(scores, axis=-1)
        sure = mx.exp(mx.max(scores, axis=-1) - mx.logsumexp(scores, axis=-1))
        lasts = mx.argmax(logits[..., blank + 1 :], axis=-1) if durations else mx.zeros_like(best)
        mx.eval(best, sure, lasts)
        self.tokens: list[list[int]] = best.tolist()
        self._sure: list[list[float]] = sure.tolist()
        self.durations: list[list[int]] = np.asarray(durations or (0,))[np.array(lasts)].tolist()
        self._scores, self._ahead = scores, ahead

    def probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        return self._sure[lane][frame]

    def scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        return np.array(self._scores[lane, frame])

    def memory(self, lane: int) -> tuple[mx.array, mx.array]:
        """Return the prediction network's state after the lane's token."""
        return self._ahead[lane].memory


def _load(files: MlxFiles, runtime: Runtime) -> Model:
    """Return the loaded model.

    Raises:
        ModelUnavailable: Something is broken, or does not fit together.
    """
    on_gpu = mx.default_device() == mx.Device(mx.gpu)
    network = _read_network(files, runtime.precision or ("bfloat16" if on_gpu else "float32"))
    together = not on_gpu if runtime.together is None else runtime.together
    found = files.architecture
    encoder = _Encoder(network, found.kind, together=together)
    decoder = _ctc_or_transducer(network, files, together=together)
    return Model(NAME, encoder, decoder, found.pieces, found.bands, found.subsampling)


def _leave() -> None:
    """Give back what MLX keeps for this process and this thread; the last that a thread may ask of MLX."""
    mx.clear_cache()
    mx.synchronize()
    mx.clear_streams()


def _read_network(files: MlxFiles, precision: str) -> nn.Module:
    """Return parakeet-mlx's module with its weights.

    Raises:
        ModelUnavailable: The weights cannot be read, or are not those of the configuration.
    """
    try:
        network = from_config(files.config)
        network.load_weights(str(files.weights))
    except _LOAD_FAILURES as failure:
        raise unusable(
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


def _ctc_head(network: nn.Module) -> nn.Module:
    return network.ctc_decoder if hasattr(network, "ctc_decoder") else network.decoder


def _ctc_or_transducer(network: nn.Module, files: MlxFiles, *, together: bool) -> Decoder:
    found = files.architecture
    if found.kind == "ctc":
        return Ctc(len(found.pieces))
    blank = len(found.pieces)
    outputs = network.joint.joint_net[-1].weight.shape[0]
    if outputs != blank + 1 + len(found.durations):
        raise unusable(
            f"config.json describes no {found.kind.upper()}: {blank} pieces, a blank and "
            f"{len(found.durations)} durations against {outputs} outputs."
        )
    return Transducer(
        _Network(network, blank, found.durations),
        blank,
        lookahead=LOOKAHEAD[found.kind],
        max_symbols=found.max_symbols,
        together=together,
    )


def _stacked(frames: Sequence[mx.array]) -> mx.array:
    """Return several lanes' frames as one array, shape ``(lanes, most, width)``, zeros after a lane's."""
    most = max(len(one) for one in frames)
    return mx.stack(
        [mx.pad(one, ((0, most - len(one)), (0, 0))) if len(one) < most else one for one in frames]
    )

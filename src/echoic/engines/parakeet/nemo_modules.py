"""NeMo's modules for a Parakeet: built from the model's own configuration, filled with its weights.

Importing this module imports torch and NeMo.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from nemo.collections.asr.modules.conformer_encoder import ConformerEncoder
from nemo.collections.asr.modules.conv_asr import ConvASRDecoder
from nemo.collections.asr.modules.rnnt import RNNTDecoder, RNNTJoint
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.overrides import TorchFunctionMode

from echoic.engines.parakeet.decoder import CtcDecoder, TokenDecoder
from echoic.engines.parakeet.features import MelFeatures
from echoic.engines.parakeet.nemo import TorchOptions
from echoic.engines.parakeet.nemo_files import (
    NEMO_CONFIG_FILE,
    NEMO_WEIGHTS_FILE,
    NemoModelFiles,
    ParakeetArchitecture,
    build_nemo_error,
    read_architecture,
)
from echoic.engines.parakeet.transducer import LOOKAHEAD, DecoderLane, Transducer

#: A value that OmegaConf would ask something else for, such as the environment.
_RESOLVER_PATTERN = re.compile(rb"\$\{[^}]*:")
_MODULE_CLASSES = {kind.__name__: kind for kind in (ConformerEncoder, ConvASRDecoder, RNNTDecoder, RNNTJoint)}


@dataclass(frozen=True, slots=True, eq=False)
class NemoModel:
    """A loaded model; no call changes it.

    Attributes:
        architecture: What its configuration says.
        modules: The modules, by the prefix of their weights.
        device: Where the weights are.
        precision: What they are.
        cores: Cores that one operation uses on the CPU.
    """

    architecture: ParakeetArchitecture
    modules: Mapping[str, Any]
    device: torch.device
    precision: torch.dtype
    cores: int


def load_nemo_model(parts: NemoModelFiles, options: TorchOptions) -> NemoModel:
    """Return the loaded model.

    Raises:
        ModelUnavailable: It is broken, is no Parakeet, or cannot be computed here.
    """
    architecture = read_architecture(_read_config(parts), options.head)
    precision: torch.dtype = getattr(torch, options.precision)
    device = _resolve_device(options.device)
    modules = {prefix: _build_module(arguments) for prefix, arguments in architecture.module_configs.items()}
    state = _read_weights(parts)
    for prefix, module in modules.items():
        _assign_weights(parts, module, _pop_prefixed(state, f"{prefix}."))
        module.to(device=device, dtype=precision).eval().requires_grad_(requires_grad=False)
    if device.type == "cpu":
        torch.set_num_threads(options.cores)
    return NemoModel(architecture, modules, device, precision, options.cores)


def build_decoder(model: NemoModel) -> TokenDecoder:
    """Return what turns the frames of ``NemoEncoder`` into tokens."""
    read = model.architecture
    if read.kind == "ctc":
        return CtcDecoder(len(read.pieces))
    return Transducer(
        NemoNetwork(model), len(read.pieces), lookahead=LOOKAHEAD[read.kind], max_symbols=read.max_symbols
    )


class NemoEncoder:
    """NeMo's encoder, and what can be said of a frame whatever was said before (``parakeet.Encoder``).

    For a transducer that is the joint network's projection, a tensor on the device; for a CTC head the
    log-probabilities, in numpy.

    With one core a window's frames are the same to the bit in any company of its length (torch 2.13, 32 and
    16 bits). More cores cut the sums otherwise, so windows are encoded one by one. On a GPU they go
    together, which may change the last bits.

    Args:
        model: The model.
    """

    def __init__(self, model: NemoModel) -> None:
        self.can_batch = model.device.type != "cpu" or model.cores == 1
        self._model, self._encoder = model, model.modules["encoder"]
        # NeMo takes the table of positions, one for each frame, to be too short for as many feature frames,
        # and makes a longer one in the middle of a call, which another thread may be in.
        self._max_feature_frames = self._encoder.pos_emb_max_len * model.architecture.subsampling
        self._encoder.max_audio_length = self._max_feature_frames

    def encode(self, features: MelFeatures) -> Sequence[Any]:
        """Return the frames of each window: shape ``(frames, width)``, or ``(frames, tokens + blank)``."""
        with torch.inference_mode():
            frames = self.encode_frames(features)
            if self._model.architecture.kind != "ctc":
                return list(self._model.modules["joint"].project_encoder(frames))
            [head] = [part for prefix, part in self._model.modules.items() if prefix != "encoder"]
            return list(head(encoder_output=frames.transpose(1, 2)).float().cpu().numpy())

    def encode_frames(self, features: MelFeatures) -> Tensor:
        """Return the encoder's own frames, shape ``(windows, frames, width)``.

        Raises:
            ValueError: The windows are longer than the model's positions reach.
        """
        if features.log_mel.shape[2] > self._max_feature_frames:
            raise ValueError(
                f"A window has {features.log_mel.shape[2]} feature frames of {self._max_feature_frames}."
            )
        with torch.inference_mode():
            encoded, _ = self._encoder(
                audio_signal=torch.from_numpy(features.log_mel).to(self._model.device, self._model.precision),
                length=torch.from_numpy(features.frame_counts).to(self._model.device),
            )
            return encoded.transpose(1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class _NemoPrediction:
    """What the prediction network makes of a lane's token.

    Attributes:
        projected: For the joint network, shape ``(1, width)``.
        predictor_state: Its state after the token, shape ``(layers, hidden)`` each.
    """

    projected: Tensor
    predictor_state: tuple[Tensor, Tensor]


class NemoNetwork:
    """Prediction and joint network on the device (``transducer.Network``).

    Args:
        model: The model.
    """

    def __init__(self, model: NemoModel) -> None:
        self._prediction, self._joint = model.modules["decoder"], model.modules["joint"]
        self._device, self._precision = model.device, model.precision
        self._blank, self._durations = len(model.architecture.pieces), model.architecture.durations

    def build_initial_state(self) -> tuple[Tensor, Tensor]:
        """Return zeros, shape ``(layers, hidden)`` each."""
        like = torch.zeros((1, 1), device=self._device, dtype=self._precision)
        hidden, cell = self._prediction.initialize_state(like)
        return hidden[:, 0], cell[:, 0]

    def score_frames(self, frames: Sequence[Tensor], lanes: Sequence[DecoderLane]) -> NemoJointOutput:
        """Return what the frames of each lane say after its token; the prediction is kept in ``ahead``."""
        with torch.inference_mode():
            fresh = [lane for lane in lanes if lane.prediction is None]
            if fresh:
                self._update_predictions(fresh)
            ahead: list[Any] = [lane.prediction for lane in lanes]
            projected = torch.stack([one.projected for one in ahead])
            padded = pad_sequence(list(frames), batch_first=True)
            logits = self._joint.joint_after_projection(padded, projected)[:, :, 0]
        return NemoJointOutput(logits, self._blank, self._durations, ahead)

    def _update_predictions(self, lanes: Sequence[DecoderLane]) -> None:
        memory: list[Any] = [lane.predictor_state for lane in lanes]
        tokens = torch.tensor([[lane.last_token] for lane in lanes], device=self._device)
        before = tuple(torch.stack(part, dim=1) for part in zip(*memory, strict=True))
        said, (hidden, cell) = self._prediction.predict(tokens, before, add_sos=False)
        projected = self._joint.project_prednet(said)
        for number, lane in enumerate(lanes):
            lane.prediction = _NemoPrediction(projected[number], (hidden[:, number], cell[:, number]))


class NemoJointOutput:
    """A verdict of which only tokens and durations leave the device (``transducer.Verdict``).

    Args:
        logits: Shape ``(lanes, frames, tokens + blank + durations)``.
        blank: The blank's number; it follows the last token, and the durations follow it.
        durations: Frames that each duration means; none: an RNNT, which says nothing of durations.
        predictions: What the prediction network made of each lane's token.
    """

    def __init__(
        self, logits: Tensor, blank: int, durations: Sequence[int], predictions: Sequence[_NemoPrediction]
    ) -> None:
        self._scores, self._predictions = logits[:, :, : blank + 1], predictions
        self.best_tokens: list[list[int]] = self._scores.argmax(dim=2).tolist()
        self.durations = [[0] * logits.shape[1]] * logits.shape[0]
        if durations:
            chosen = logits[:, :, blank + 1 :].argmax(dim=2).tolist()
            self.durations = [[durations[choice] for choice in lane] for lane in chosen]

    def get_probability(self, lane: int, frame: int) -> float:
        """Return the probability, 0..1, of the token said there."""
        with torch.inference_mode():
            scores = self._scores[lane, frame].float()
            return float((scores[self.best_tokens[lane][frame]] - scores.logsumexp(0)).exp())

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return what each token and the blank score there."""
        scores: NDArray[np.float32] = self._scores[lane, frame].float().cpu().numpy()
        return scores

    def get_predictor_state(self, lane: int) -> tuple[Tensor, Tensor]:
        """Return the prediction network's state after the lane's token."""
        return self._predictions[lane].predictor_state


class _SkipWeightInitialization(TorchFunctionMode):  # type: ignore[misc]  # torch is no part of the development install
    """Leaves new weights as they are: they are read from the file anyway.

    That saves seconds, and the memory of weights that nobody touches.
    """

    def __torch_function__(
        self,
        function: Any,  # noqa: ANN401  # torch's own interface
        types: Any,  # noqa: ANN401  # the same
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # the same
        named = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return function(*args, **named)


def _read_config(parts: NemoModelFiles) -> Mapping[str, object]:
    with parts.open_part(parts.config) as opened:
        text = opened.read()
    try:
        if _RESOLVER_PATTERN.search(text):
            raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} asks for more than its own values.")
        config = OmegaConf.to_container(OmegaConf.create(text.decode()), resolve=True)
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as failure:
        raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} cannot be read.") from failure
    if not isinstance(config, dict):
        raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} is not a configuration.")
    return config


def _resolve_device(name: str) -> torch.device:
    found = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(found)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as failure:
        raise build_nemo_error(f"Torch cannot compute on the device {name!r} here.", None) from failure
    return device


def _build_module(arguments: Mapping[str, object]) -> nn.Module:
    name = str(arguments["_target_"]).rpartition(".")[2]
    own = {key: value for key, value in arguments.items() if key != "_target_"}
    if name == RNNTJoint.__name__:
        own |= {"log_softmax": False, "fuse_loss_wer": False}
    try:
        with _SkipWeightInitialization():
            return _MODULE_CLASSES[name](**own)
    except (TypeError, ValueError, KeyError, AssertionError) as failure:
        raise build_nemo_error(
            f"The installed version of NeMo cannot build this model's {name}."
        ) from failure


def _read_weights(parts: NemoModelFiles) -> dict[str, Tensor]:
    try:
        with parts.open_part(parts.weights) as opened:
            return dict(torch.load(opened, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as failure:
        raise build_nemo_error(
            f"{NEMO_WEIGHTS_FILE} in {parts.path} is damaged, or holds more than weights."
        ) from failure


def _pop_prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return what begins with ``prefix``, without it, and take it out of ``state``."""
    names = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in names}


def _assign_weights(parts: NemoModelFiles, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as failure:
        raise build_nemo_error(
            f"{NEMO_WEIGHTS_FILE} and {NEMO_CONFIG_FILE} in {parts.path} are not of one model."
        ) from failure

"""Builds NeMo's modules of a Parakeet from its configuration, and loads its weights.

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
from echoic.engines.parakeet.nemo_files import (
    NEMO_CONFIG_FILE,
    NEMO_WEIGHTS_FILE,
    NemoModelFiles,
    ParakeetArchitecture,
    TorchOptions,
    build_nemo_error,
    read_architecture,
)
from echoic.engines.parakeet.transducer import (
    LOOKAHEAD,
    BaseJointOutput,
    CachingNetwork,
    DecoderLane,
    JointOutput,
    Prediction,
    Transducer,
    decode_durations,
)

#: A value that OmegaConf would resolve from outside the file, such as the environment.
_RESOLVER_PATTERN = re.compile(rb"\$\{[^}]*:")
_MODULE_CLASSES = {kind.__name__: kind for kind in (ConformerEncoder, ConvASRDecoder, RNNTDecoder, RNNTJoint)}


@dataclass(frozen=True, slots=True, eq=False)
class NemoModel:
    """A loaded model; no call changes it."""

    #: The architecture in its configuration.
    architecture: ParakeetArchitecture
    #: The modules, by the prefix of their weights.
    modules: Mapping[str, Any]
    #: The device of the weights.
    device: torch.device
    #: The type of the weights.
    precision: torch.dtype
    #: Cores that one operation uses on the CPU.
    cores: int


def load_nemo_model(parts: NemoModelFiles, options: TorchOptions) -> NemoModel:
    """Return the loaded model.

    Raises:
        ModelUnavailable: The model is broken, not a Parakeet, or cannot run on this machine.
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
    """Return the decoder for the frames of ``NemoEncoder``."""
    architecture = model.architecture
    if architecture.kind == "ctc":
        return CtcDecoder(len(architecture.pieces))
    return Transducer(
        NemoNetwork(model),
        len(architecture.pieces),
        lookahead=LOOKAHEAD[architecture.kind],
        max_symbols=architecture.max_symbols,
    )


class NemoEncoder:
    """NeMo's encoder and the next layer, which depends on frames only (implements ``ParakeetEncoder``).

    For a transducer that layer is the joint network's projection, a tensor on the device. For a CTC head it
    gives the log-probabilities, in numpy.

    With one core, the frames of a window are bit-identical in any batch of windows of its length (torch 2.13,
    32 and 16 bits). More cores split the sums differently, so windows are encoded one by one. On a GPU they
    are batched, which may change the last bits.

    Args:
        model: The loaded model.
    """

    def __init__(self, model: NemoModel) -> None:
        self.can_batch = model.device.type != "cpu" or model.cores == 1
        self._model, self._encoder = model, model.modules["encoder"]
        # NeMo compares the length of the table of positions (one per encoder frame) with feature frames, and
        # would replace the table in the middle of a call, while another thread uses it.
        self._max_feature_frames = self._encoder.pos_emb_max_len * model.architecture.subsampling
        self._encoder.max_audio_length = self._max_feature_frames

    def encode(self, features: MelFeatures) -> Sequence[Any]:
        """Return the frames of each window, shape ``(frames, width)`` or ``(frames, tokens + blank)``."""
        with torch.inference_mode():
            frames = self.encode_frames(features)
            if self._model.architecture.kind != "ctc":
                return list(self._model.modules["joint"].project_encoder(frames))
            [head] = [part for prefix, part in self._model.modules.items() if prefix != "encoder"]
            return list(head(encoder_output=frames.transpose(1, 2)).float().cpu().numpy())

    def encode_frames(self, features: MelFeatures) -> Tensor:
        """Return the output of the encoder alone, shape ``(windows, frames, width)``.

        Raises:
            ValueError: The windows are longer than the model's table of positions.
        """
        if features.log_mel.shape[2] > self._max_feature_frames:
            raise ValueError(
                f"A window has {features.log_mel.shape[2]} feature frames of "
                f"at most {self._max_feature_frames}."
            )
        with torch.inference_mode():
            encoded, _ = self._encoder(
                audio_signal=torch.from_numpy(features.log_mel).to(self._model.device, self._model.precision),
                length=torch.from_numpy(features.frame_counts).to(self._model.device),
            )
            return encoded.transpose(1, 2)


class NemoNetwork(CachingNetwork):
    """The prediction network and the joint network on the device (implements ``TransducerNetwork``).

    Args:
        model: The loaded model.
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

    def score_frames(self, frames: Sequence[Tensor], lanes: Sequence[DecoderLane]) -> JointOutput:
        """Return the scores of the next frames of each lane, given its last token."""
        with torch.inference_mode():
            return super().score_frames(frames, lanes)

    def _predict(self, lanes: Sequence[DecoderLane]) -> list[Prediction]:
        tokens = torch.tensor([[lane.last_token] for lane in lanes], device=self._device)
        states = tuple(
            torch.stack(part, dim=1) for part in zip(*(lane.predictor_state for lane in lanes), strict=True)
        )
        output, (hidden, cell) = self._prediction.predict(tokens, states, add_sos=False)
        projected = self._joint.project_prednet(output)
        return [
            Prediction(projected[number], (hidden[:, number], cell[:, number]))
            for number in range(len(lanes))
        ]

    def _join(self, frames: Sequence[Tensor], predictions: Sequence[Prediction]) -> NemoJointOutput:
        projected = torch.stack([prediction.projected for prediction in predictions])
        padded = pad_sequence(list(frames), batch_first=True)
        logits = self._joint.joint_after_projection(padded, projected)[:, :, 0]
        return NemoJointOutput(logits, self._blank, self._durations, predictions)


class NemoJointOutput(BaseJointOutput):
    """A joint output whose scores stay on the device.

    Args:
        logits: Shape ``(lanes, frames, tokens + blank + durations)``.
        blank: The number of the blank; it follows the last token, and the durations follow the blank.
        duration_values: Frames of each duration output; empty for an RNNT.
        predictions: The prediction of each lane.
    """

    def __init__(
        self,
        logits: Tensor,
        blank: int,
        duration_values: Sequence[int],
        predictions: Sequence[Prediction],
    ) -> None:
        self._scores = logits[:, :, : blank + 1]
        durations = [[0] * logits.shape[1]] * logits.shape[0]
        if duration_values:
            choices = logits[:, :, blank + 1 :].argmax(dim=2).cpu().numpy()
            durations = decode_durations(choices, duration_values)
        super().__init__(
            self._scores.argmax(dim=2).tolist(), durations, lambda lane: predictions[lane].predictor_state
        )

    def get_scores(self, lane: int, frame: int) -> NDArray[np.float32]:
        """Return the log-probability of each token and the blank, up to a common constant."""
        scores: NDArray[np.float32] = self._scores[lane, frame].float().cpu().numpy()
        return scores


class _SkipWeightInitialization(TorchFunctionMode):  # type: ignore[misc]  # torch is not in dev
    """Skips the initialization of new weights, which are loaded from the file anyway.

    This saves seconds, and the memory of weights that are never written.
    """

    def __torch_function__(
        self,
        function: Any,  # noqa: ANN401  # torch's own interface
        types: Any,  # noqa: ANN401  # torch's own interface
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  # torch's own interface
        named = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else named["tensor"]
        return function(*args, **named)


def _read_config(parts: NemoModelFiles) -> Mapping[str, object]:
    with parts.open_part(parts.config) as opened:
        text = opened.read()
    try:
        if _RESOLVER_PATTERN.search(text):
            raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} refers to values outside the file.")
        config = OmegaConf.to_container(OmegaConf.create(text.decode()), resolve=True)
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as failure:
        raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} cannot be read.") from failure
    if not isinstance(config, dict):
        raise build_nemo_error(f"{NEMO_CONFIG_FILE} in {parts.path} is not a configuration.")
    return config


def _resolve_device(name: str) -> torch.device:
    resolved = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(resolved)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as failure:
        raise build_nemo_error(f"Torch cannot use the device {name!r} on this machine.", None) from failure
    return device


def _build_module(arguments: Mapping[str, object]) -> nn.Module:
    name = str(arguments["_target_"]).rpartition(".")[2]
    options = {key: value for key, value in arguments.items() if key != "_target_"}
    if name == RNNTJoint.__name__:
        options |= {"log_softmax": False, "fuse_loss_wer": False}
    try:
        with _SkipWeightInitialization():
            return _MODULE_CLASSES[name](**options)
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
            f"{NEMO_WEIGHTS_FILE} in {parts.path} is damaged, or contains more than weights."
        ) from failure


def _pop_prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove the weights with ``prefix`` from ``state``, and return them without the prefix."""
    names = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in names}


def _assign_weights(parts: NemoModelFiles, module: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as failure:
        raise build_nemo_error(
            f"{NEMO_WEIGHTS_FILE} and {NEMO_CONFIG_FILE} in {parts.path} do not belong to the same model."
        ) from failure

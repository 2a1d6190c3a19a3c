"""Cutting a transducer's fused decoding graph in three, so that each part runs no more often than it must.

The published ``decoder_joint-model`` runs all of it for every look at a frame. Here are

- ``projection``: what the joint network makes of encoder frames; once a window, all frames together,
- ``prediction``: one step of the prediction network (an LSTM), only after a token,
- ``joint``: their sum to scores, for each frame that is looked at.

What the first layer of the LSTM makes of a token is a table, so that product is never computed. Memory is one
row for each lane: the hidden states of all layers, then the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from echoic.engines.optimize_graph import SMALLEST, Graph, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from echoic.engines.optimize_graph import Product

_OPSET = 17
_IR_VERSION = 8
#: From this input on an LSTM of ONNX has weights that NeMo's has not.
_PEEPHOLES = 7
#: Operators that only move values; they are passed over on the way from one product to the one before.
_MOVES = {"Transpose", "Squeeze", "Unsqueeze", "Cast", "Identity"}


class NotCut(Exception):
    """A decoding graph is built in another way than NeMo exports it."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``input @ weights + bias``."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an LSTM: gates in ONNX's order, which is input, output, forget, new.

    Attributes:
        inwards: float32, shape ``(width, 4 * hidden)``.
        back: float32, shape ``(hidden, 4 * hidden)``.
        bias: float32, shape ``(4 * hidden,)``: both of ONNX's together.
    """

    inwards: NDArray[np.float32]
    back: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Parts:
    """The weights of a transducer's decoding networks.

    Attributes:
        embedding: float32, shape ``(tokens and blank, width)``.
        layers: Of the prediction network.
        predicted: What the joint network makes of the prediction.
        heard: What it makes of an encoder frame.
        scores: What it makes of their sum.
    """

    embedding: NDArray[np.float32]
    layers: tuple[Layer, ...]
    predicted: Linear
    heard: Linear
    scores: Linear


def read_parts(model: onnx.ModelProto, folder: Path) -> Parts:
    """Return the weights of a fused graph.

    Args:
        model: In full precision.
        folder: Where its large tensors lie.

    Raises:
        NotCut: It is built in another way.
    """
    reader = _Reader(Graph(model, folder))
    scores, felt = reader.linear("outputs")
    addition = reader.made(reader.made(felt, "Relu").input[0], "Add")
    sides = {source: side for side, source in map(reader.linear, addition.input)}
    heard = sides.pop("encoder_outputs", None)
    if heard is None or len(sides) != 1:
        raise NotCut("Its joint network does not add what it hears to what it predicts.")
    ((last, predicted),) = sides.items()
    layers: list[Layer] = []
    while reader.kind(last) == "LSTM":
        node = reader.made(last, "LSTM")
        layers.insert(0, reader.layer(node))
        last = reader.source(node.input[0])
    gather = reader.made(last, "Gather")
    if not layers or reader.source(gather.input[1]) != "targets":
        raise NotCut("Its prediction network is not an LSTM over the last token.")
    return Parts(reader.constant(gather.input[0]), tuple(layers), predicted, heard, scores)


def prediction(parts: Parts, product: Product) -> onnx.ModelProto:
    """Return the graph of one step: (``tokens``, ``memory``) to (``predicted``, ``after``)."""
    count, hidden = len(parts.layers), len(parts.layers[0].back)
    size = 2 * count * hidden
    graph = _empty(
        {"tokens": (TensorProto.INT64, ["lanes"]), "memory": (TensorProto.FLOAT, ["lanes", size])},
        {
            "predicted": (TensorProto.FLOAT, ["lanes", parts.predicted.weights.shape[1]]),
            "after": (TensorProto.FLOAT, ["lanes", size]),
        },
    )
    states = [f"{kind}{number}" for kind in ("hidden", "cell") for number in range(count)]
    graph.nodes.append(helper.make_node("Split", ["memory"], states, axis=1))
    first = parts.layers[0]
    table = (parts.embedding @ first.inwards + first.bias).astype(np.float16)
    row = graph.add("Gather", [graph.keep("table", table), "tokens"], "row", axis=0)
    inwards = graph.add("Cast", [row], "inwards", to=TensorProto.FLOAT)
    _product(graph, product, ("hidden0", first.back), "back")
    _cell(graph, graph.add("Add", [inwards, "back"], "gates0"), 0)
    for number, layer in enumerate(parts.layers[1:], start=1):
        both = graph.add("Concat", [f"hidden{number - 1}_after", f"hidden{number}"], f"both{number}", axis=1)
        together = Linear(np.concatenate((layer.inwards, layer.back)), layer.bias)
        _cell(graph, _linear(graph, product, (both, together), f"gates{number}"), number)
    _linear(graph, product, (f"hidden{count - 1}_after", parts.predicted), "predicted")
    graph.add("Concat", [f"{state}_after" for state in states], "after", axis=1)
    return graph.finished()


def projection(parts: Parts, product: Product) -> onnx.ModelProto:
    """Return the graph of what is heard: ``frames`` to ``heard``, a row for each frame."""
    width, hidden = parts.heard.weights.shape
    graph = _empty(
        {"frames": (TensorProto.FLOAT, ["frames", width])},
        {"heard": (TensorProto.FLOAT, ["frames", hidden])},
    )
    _linear(graph, product, ("frames", parts.heard), "heard")
    return graph.finished()


def joint(parts: Parts, product: Product) -> onnx.ModelProto:
    """Return the graph of scores: (``heard``, ``predicted``) to (``scores``, ``certain``[, ``durations``]).

    ``certain`` is the probability of the best score; a transducer that knows no durations says none.
    """
    hidden, outputs = parts.scores.weights.shape
    tokens = len(parts.embedding)
    graph = _empty(
        {name: (TensorProto.FLOAT, ["frames", hidden]) for name in ("heard", "predicted")},
        {
            "scores": (TensorProto.FLOAT, ["frames", tokens]),
            "certain": (TensorProto.FLOAT, ["frames"]),
            **({"durations": (TensorProto.FLOAT, ["frames", outputs - tokens])} if outputs > tokens else {}),
        },
    )
    felt = graph.add("Relu", [graph.add("Add", ["heard", "predicted"], "sum")], "felt")
    weights, bias = parts.scores.weights, parts.scores.bias
    _linear(graph, product, (felt, Linear(weights[:, :tokens], bias[:tokens])), "scores")
    if outputs > tokens:
        _linear(graph, plain, (felt, Linear(weights[:, tokens:], bias[tokens:])), "durations")
    graph.add("Softmax", ["scores"], "probabilities", axis=-1)
    graph.add("ReduceMax", ["probabilities"], "certain", axes=[-1], keepdims=0)
    return graph.finished()


class _Reader:
    """Finds its way back from a graph's outputs to what they are made of."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers: dict[str, onnx.NodeProto] = {
            name: node for node in graph.model.graph.node for name in node.output
        }

    def source(self, name: str) -> str:
        """Return the tensor that was only moved to become this one."""
        while (node := self._makers.get(name)) is not None and node.op_type in _MOVES:
            name = node.input[0]
        return name

    def kind(self, name: str) -> str:
        node = self._makers.get(self.source(name))
        return "" if node is None else node.op_type

    def made(self, name: str, kind: str) -> onnx.NodeProto:
        """Return the node that makes a tensor."""
        node = self._makers.get(self.source(name))
        if node is None or node.op_type != kind:
            raise NotCut(f"{kind} is not where it is expected.")
        return node

    def constant(self, name: str) -> NDArray[np.float32]:
        value = self._graph.constant(self.source(name))
        if value is None:
            raise NotCut(f"{name} is computed.")
        return value

    def linear(self, name: str) -> tuple[Linear, str]:
        """Return a product with its bias, and what goes into it."""
        addition = self.made(name, "Add")
        sides = sorted(addition.input, key=lambda side: self.kind(side) != "MatMul")
        node = self.made(sides[0], "MatMul")
        return Linear(self.constant(node.input[1]), self.constant(sides[1])), self.source(node.input[0])

    def layer(self, node: onnx.NodeProto) -> Layer:
        inwards, back, bias = (self.constant(name) for name in node.input[1:4])
        if len(inwards) != 1 or any(node.input[_PEEPHOLES:]):
            raise NotCut("Its prediction network is an LSTM of another kind.")
        halves = bias[0].reshape(2, -1)
        return Layer(inwards[0].T, back[0].T, halves[0] + halves[1])


def _cell(graph: Graph, gates: str, number: int) -> None:
    """Add an LSTM's cell behind its products. Source: ONNX's operator LSTM, default activations."""
    names = [f"{gates}_{gate}" for gate in ("input", "output", "forget", "new")]
    graph.nodes.append(helper.make_node("Split", [gates], names, axis=1))
    inlet, outlet, forget = (graph.add("Sigmoid", [name], f"{name}_open") for name in names[:3])
    new = graph.add("Tanh", [names[3]], f"{names[3]}_value")
    kept = graph.add("Mul", [forget, f"cell{number}"], f"cell{number}_kept")
    taken = graph.add("Mul", [inlet, new], f"cell{number}_taken")
    shown = graph.add("Tanh", [graph.add("Add", [kept, taken], f"cell{number}_after")], f"cell{number}_shown")
    graph.add("Mul", [outlet, shown], f"hidden{number}_after")


def _product(graph: Graph, product: Product, factors: tuple[str, NDArray[np.float32]], output: str) -> None:
    source, weights = factors
    (product if min(weights.shape) >= SMALLEST else plain)(graph, source, weights, output)


def _linear(graph: Graph, product: Product, factors: tuple[str, Linear], output: str) -> str:
    source, linear = factors
    _product(graph, product, (source, linear.weights), f"{output}_product")
    return graph.add("Add", [f"{output}_product", graph.keep(f"{output}_bias", linear.bias)], output)


def _empty(
    inputs: Mapping[str, tuple[int, Sequence[str | int]]],
    outputs: Mapping[str, tuple[int, Sequence[str | int]]],
) -> Graph:
    takes, gives = (
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    )
    graph = helper.make_graph([], "echoic", takes, gives)
    opset = helper.make_opsetid("", _OPSET)
    return Graph(helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION), Path())

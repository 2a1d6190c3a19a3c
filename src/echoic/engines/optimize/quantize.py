"""Rewriting an ONNX graph so that its matrix products run on 8-bit integers, each row with its own scale.

The usual dynamic int8 takes one scale for all activations of a call, so what it says of a window depends on
its company, and one loud value costs all others their precision. Here each row (each frame) has its own
scale, and weights one for each column: a row's result is the same in any company, to the bit, since sums of
integers are exact. It costs a tenth more than the usual way, and half its error.

Pointwise convolutions are matrix products in disguise; as such they run on the same integers.
Everything here works on a model in memory; nothing of it is needed to run the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

ProductBuilder = Callable[["GraphRewriter", str, NDArray[np.float32], str], None]

#: Rows and columns below which a product stays as it is: nothing would be gained.
MIN_PRODUCT_SIZE = 32
#: Steps to each side of zero that an activation has, and a weight.
QUANTIZATION_STEPS = 127
#: Steps of a weight where products of 8 bits by 8 overflow 16 (x86 without VNNI): two of them must fit.
REDUCED_STEPS = 63
#: Added to a row's largest value, so that a row of zeros has a scale.
_MIN_SCALE = np.float32(1e-20)
_MICROSOFT_DOMAIN = "com.microsoft"
_AXES_INPUT_OPSET = 18
_MATRIX_RANK, _KERNEL_RANK = 2, 3


@dataclass(slots=True)
class GraphRewriter:
    """A model that is being rewritten: nodes and constants are added, and those nobody reads are dropped.

    Attributes:
        model: Where it stands.
        folder: Where its large tensors lie.
        nodes: What replaces the nodes of ``model``.
    """

    model: onnx.ModelProto
    folder: Path
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _tensors: dict[str, TensorProto] = field(default_factory=dict)
    _quantized_rows: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tensors = {one.name: one for one in self.model.graph.initializer}

    @property
    def opset(self) -> int:
        """The version of the standard operators."""
        return max(
            (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")), default=1
        )

    def read_constant(self, name: str) -> NDArray[np.float32] | None:
        """Return a constant float tensor, or None: it is computed, or something else."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        loaded = TensorProto()
        loaded.CopyFrom(tensor)
        if external_data_helper.uses_external_data(loaded):
            external_data_helper.load_external_data_for_tensor(loaded, str(self.folder))
        return np.asarray(numpy_helper.to_array(loaded), np.float32)

    def add_constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant, once; return its name."""
        if name not in self._tensors:
            self._tensors[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add_node(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        *,
        domain: str = "",
        **attributes: Any,  # noqa: ANN401  # whatever the operator has
    ) -> str:
        """Add a node; return its output."""
        name = f"{output}_{kind}"
        node = helper.make_node(kind, inputs, [output], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def quantize_rows(self, source: str) -> tuple[str, str]:
        """Return the names of ``source`` in 8 bits and of the rows' scales; made once however many ask."""
        if source not in self._quantized_rows:
            steps = self.add_constant("echoic_steps", np.array(QUANTIZATION_STEPS, np.float32))
            size = self.add_node("Abs", [source], f"{source}_size")
            if self.opset >= _AXES_INPUT_OPSET:
                axis = self.add_constant("echoic_last", np.array([-1], np.int64))
                most = self.add_node("ReduceMax", [size, axis], f"{source}_most", keepdims=1)
            else:
                most = self.add_node("ReduceMax", [size], f"{source}_most", axes=[-1], keepdims=1)
            nothing = self.add_constant("echoic_nothing", np.array(_MIN_SCALE))
            most = self.add_node("Add", [most, nothing], f"{source}_range")
            many = self.add_node("Div", [steps, most], f"{source}_many")
            scale = self.add_node("Div", [most, steps], f"{source}_scale")
            scaled = self.add_node("Mul", [source, many], f"{source}_scaled")
            one = self.add_constant("echoic_one", np.array(1, np.float32))
            middle = self.add_constant("echoic_middle", np.array(QUANTIZATION_STEPS + 1, np.uint8))
            self._quantized_rows[source] = (
                self.add_node("QuantizeLinear", [scaled, one, middle], f"{source}_q"),
                scale,
            )
        return self._quantized_rows[source]

    def build_model(self) -> onnx.ModelProto:
        """Return the model with the new nodes and the constants that they read, all of them in memory."""
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | {one.name for one in graph.output}
        del graph.initializer[:]
        graph.initializer.extend(one for name, one in self._tensors.items() if name in read)
        # Shapes that the exporter noted of tensors in between may be of tensors that are gone.
        del graph.value_info[:]
        for tensor in iterate_tensors(graph):
            if external_data_helper.uses_external_data(tensor):
                external_data_helper.load_external_data_for_tensor(tensor, str(self.folder))
                tensor.ClearField("data_location")
                del tensor.external_data[:]
        if any(node.domain == _MICROSOFT_DOMAIN for node in self.nodes):
            known = {one.domain for one in self.model.opset_import}
            if _MICROSOFT_DOMAIN not in known:
                self.model.opset_import.append(helper.make_opsetid(_MICROSOFT_DOMAIN, 1))
        return self.model


def iterate_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield the constants of a graph: those with names, and those inside of nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from iterate_tensors(attribute.g)


def rewrite_products(graph: GraphRewriter, product: ProductBuilder | None) -> tuple[onnx.ModelProto, int]:
    """Return the model with its constant matrix products made by ``product``, and how many they are.

    Args:
        graph: A model in full precision.
        product: How a product is computed; None: in full precision, as a node of its own.
    """
    count = 0
    for node in list(graph.model.graph.node):
        if (weights := _find_pointwise_weights(graph, node)) is not None:
            _replace_convolution(graph, node, weights, product or add_float_product)
        elif node.op_type == "MatMul" and (weights := _find_matrix(graph, node.input[1])) is not None:
            (product or add_float_product)(graph, node.input[0], weights, node.output[0])
        else:
            graph.nodes.append(node)
            continue
        count += 1
    return graph.build_model(), count


def add_float_product(graph: GraphRewriter, source: str, weights: NDArray[np.float32], output: str) -> None:
    """Make a product in full precision."""
    graph.add_node("MatMul", [source, graph.add_constant(f"{output}_w", weights)], output)


def build_row_product(steps: int = QUANTIZATION_STEPS) -> ProductBuilder:
    """Return the maker of products of 8 bits, a scale for each row and for each column.

    Args:
        steps: To each side of zero that a weight has.
    """

    def add_row_product(graph: GraphRewriter, source: str, weights: NDArray[np.float32], output: str) -> None:
        scale = np.maximum(np.abs(weights).max(axis=0) / steps, _MIN_SCALE).astype(np.float32)
        integers = np.round(weights / scale).astype(np.int8)
        quantized, rows = graph.quantize_rows(source)
        columns = graph.add_constant(f"{output}_columns", scale)
        inputs = [
            quantized,
            graph.add_constant(f"{output}_w8", integers),
            "echoic_one",
            columns,
            "echoic_middle",
        ]
        summed = graph.add_node("MatMulIntegerToFloat", inputs, f"{output}_sum", domain=_MICROSOFT_DOMAIN)
        graph.add_node("Mul", [summed, rows], output)

    return add_row_product


def build_block_product(size: int) -> ProductBuilder:
    """Return the maker of products of 8 bits, a scale for each block of a row and of a column.

    Args:
        size: Values in a block: a power of two from 16 to 256.
    """

    def add_block_product(
        graph: GraphRewriter, source: str, weights: NDArray[np.float32], output: str
    ) -> None:
        depth, width = weights.shape
        padded = np.pad(weights.T, ((0, 0), (0, -depth % size))).reshape(width, -1, size)
        scale = np.maximum(np.abs(padded).max(axis=2) / QUANTIZATION_STEPS, _MIN_SCALE).astype(np.float32)
        integers = (np.round(padded / scale[:, :, None]) + QUANTIZATION_STEPS + 1).astype(np.uint8)
        graph.add_node(
            "MatMulNBits",
            [
                source,
                graph.add_constant(f"{output}_w8", integers),
                graph.add_constant(f"{output}_scales", scale.reshape(-1)),
            ],
            output,
            domain=_MICROSOFT_DOMAIN,
            K=depth,
            N=width,
            bits=8,
            block_size=size,
            accuracy_level=4,  # activations are quantized too
        )

    return add_block_product


def widen_model(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Return a model of half precision in full precision; another one as it is.

    Args:
        model: Is changed.
        folder: Where its large tensors lie.
    """
    if not any(tensor.data_type == TensorProto.FLOAT16 for tensor in iterate_tensors(model.graph)):
        return model
    for tensor in iterate_tensors(model.graph):
        if tensor.data_type == TensorProto.FLOAT16:
            if external_data_helper.uses_external_data(tensor):
                external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            wide = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]
    _fold_casts(model.graph)
    return model


def _fold_casts(graph: onnx.GraphProto) -> None:
    """Take out casts of constants that are in full precision already."""
    wide = {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT}
    kept = []
    for node in graph.node:
        target = [attribute.i for attribute in node.attribute if attribute.name == "to"]
        if node.op_type == "Cast" and target == [TensorProto.FLOAT] and node.input[0] in wide:
            graph.initializer.append(
                numpy_helper.from_array(numpy_helper.to_array(wide[node.input[0]]), node.output[0])
            )
        else:
            kept.append(node)
    read = {name for node in kept for name in node.input}
    constants = [one for one in graph.initializer if one.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)


def _find_matrix(graph: GraphRewriter, name: str) -> NDArray[np.float32] | None:
    tensor = graph.read_constant(name)
    return (
        tensor
        if tensor is not None and tensor.ndim == _MATRIX_RANK and min(tensor.shape) >= MIN_PRODUCT_SIZE
        else None
    )


def _find_pointwise_weights(graph: GraphRewriter, node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """Return the weights of a convolution over one value, shape ``(in, out)``; None: it is none."""
    if node.op_type != "Conv":
        return None
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    kernel = graph.read_constant(node.input[1])
    if (
        kernel is None
        or kernel.ndim != _KERNEL_RANK
        or kernel.shape[2] != 1
        or min(kernel.shape[:2]) < MIN_PRODUCT_SIZE
    ):
        return None
    plain_steps = settings.get("strides", [1]) == [1] and not any(settings.get("pads", []))
    return kernel[:, :, 0].T if plain_steps and settings.get("group", 1) == 1 else None


def _replace_convolution(
    graph: GraphRewriter, node: onnx.NodeProto, weights: NDArray[np.float32], product: ProductBuilder
) -> None:
    """Replace a convolution by transposition, product, transposition."""
    out = node.output[0]
    turned = graph.add_node("Transpose", [node.input[0]], f"{out}_turned", perm=[0, 2, 1])
    product(graph, turned, weights, f"{out}_product")
    summed = f"{out}_product"
    if any(node.input[2:]):
        summed = graph.add_node("Add", [summed, node.input[2]], f"{out}_biased")
    graph.add_node("Transpose", [summed], out, perm=[0, 2, 1])

"""Rewrites the matrix products of an ONNX graph to 8-bit integers with one scale per row.

Usual dynamic int8 quantization takes one scale for all activations of a call. So a window's result depends on
the other windows of its batch, and one loud value costs all others precision. Here each row (frame) of
activations and each column of weights has its own scale. Sums of integers are exact, so a row's result is the
same in any batch, to the bit. Pointwise convolutions are rewritten to the same products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

#: Rows and columns below which a product stays in float32, where integers gain nothing.
MIN_PRODUCT_SIZE = 32
#: Quantization steps of activations and weights on each side of zero.
QUANTIZATION_STEPS = 127
#: The same of weights where two products of 8-bit integers overflow 16 bits (x86 without VNNI).
REDUCED_STEPS = 63
#: Version of the standard operators, and of the file format, of new graphs.
OPSET, IR_VERSION = 17, 8
#: Added to a row's largest value, so that a row of zeros has a scale.
_MIN_SCALE = np.float32(1e-20)
_MICROSOFT_DOMAIN = "com.microsoft"
#: From this opset on ``ReduceMax`` reads its axes from an input.
_AXES_INPUT_OPSET = 18
_MATRIX_RANK, _KERNEL_RANK = 2, 3


@dataclass(slots=True)
class GraphRewriter:
    """Replaces the nodes of a model; ``build_model`` drops the constants that are no longer read."""

    model: onnx.ModelProto
    folder: Path
    """Holds the model's external tensors."""
    weight_steps: int | None
    """Quantization steps of weights on each side of zero. If None, products stay in float32."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _tensors: dict[str, TensorProto] = field(default_factory=dict)
    _quantized_rows: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tensors = {one.name: one for one in self.model.graph.initializer}

    def read_constant(self, name: str) -> NDArray[np.float32] | None:
        """Return a constant float32 tensor, or None if ``name`` is computed or of another type."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        loaded = TensorProto()
        loaded.CopyFrom(tensor)
        _load_external_data(loaded, self.folder)
        return np.asarray(numpy_helper.to_array(loaded), np.float32)

    def add_constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant unless there is one of this name; return the name."""
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
        **attributes: int | list[int],
    ) -> str:
        """Add a node and return the name of its output."""
        node = helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def add_product(
        self, source: str, weights: NDArray[np.float32], output: str, *, exact: bool = False
    ) -> str:
        """Add ``source @ weights`` and return ``output``.

        Args:
            source: Name of a tensor whose last axis is the rows' content.
            weights: Shape ``(in, out)``.
            output: Name of the result.
            exact: Compute in float32, whatever ``weight_steps`` is.
        """
        if exact or self.weight_steps is None or min(weights.shape) < MIN_PRODUCT_SIZE:
            return self.add_node("MatMul", [source, self.add_constant(f"{output}_w", weights)], output)
        scale = np.maximum(np.abs(weights).max(axis=0) / self.weight_steps, _MIN_SCALE).astype(np.float32)
        quantized, row_scales = self._quantize_rows(source)
        integers = self.add_constant(f"{output}_w8", np.round(weights / scale).astype(np.int8))
        column_scales = self.add_constant(f"{output}_columns", scale)
        inputs = [quantized, integers, "echoic_one", column_scales, "echoic_middle"]
        total = self.add_node("MatMulIntegerToFloat", inputs, f"{output}_sum", domain=_MICROSOFT_DOMAIN)
        return self.add_node("Mul", [total, row_scales], output)

    def _quantize_rows(self, source: str) -> tuple[str, str]:
        """Return the names of ``source`` in 8 bits and of its rows' scales; computed once per source."""
        if source not in self._quantized_rows:
            steps = self.add_constant("echoic_steps", np.array(QUANTIZATION_STEPS, np.float32))
            size = self.add_node("Abs", [source], f"{source}_size")
            opset = max(one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx"))
            if opset >= _AXES_INPUT_OPSET:
                axis = self.add_constant("echoic_last", np.array([-1], np.int64))
                most = self.add_node("ReduceMax", [size, axis], f"{source}_most", keepdims=1)
            else:
                most = self.add_node("ReduceMax", [size], f"{source}_most", axes=[-1], keepdims=1)
            least = self.add_constant("echoic_nothing", np.array(_MIN_SCALE))
            most = self.add_node("Add", [most, least], f"{source}_range")
            factor = self.add_node("Div", [steps, most], f"{source}_many")
            scale = self.add_node("Div", [most, steps], f"{source}_scale")
            scaled = self.add_node("Mul", [source, factor], f"{source}_scaled")
            one = self.add_constant("echoic_one", np.array(1, np.float32))
            middle = self.add_constant("echoic_middle", np.array(QUANTIZATION_STEPS + 1, np.uint8))
            quantized = self.add_node("QuantizeLinear", [scaled, one, middle], f"{source}_q")
            self._quantized_rows[source] = quantized, scale
        return self._quantized_rows[source]

    def build_model(self) -> onnx.ModelProto:
        """Return the model with the new nodes and the constants that they read, all in memory."""
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input} | {one.name for one in graph.output}
        del graph.initializer[:]
        graph.initializer.extend(one for name, one in self._tensors.items() if name in read)
        del graph.value_info[:]  # describes tensors of the replaced nodes
        for tensor in _iterate_tensors(graph):
            _load_external_data(tensor, self.folder)
        domains = {one.domain for one in self.model.opset_import}
        if any(node.domain == _MICROSOFT_DOMAIN for node in self.nodes) and _MICROSOFT_DOMAIN not in domains:
            self.model.opset_import.append(helper.make_opsetid(_MICROSOFT_DOMAIN, 1))
        return self.model


def rewrite_products(graph: GraphRewriter) -> int:
    """Rewrite all products and pointwise convolutions with constant weights; return how many there are."""
    count = 0
    for node in list(graph.model.graph.node):
        if (weights := _find_pointwise_weights(graph, node)) is not None:
            _replace_convolution(graph, node, weights)
        elif node.op_type == "MatMul" and (weights := _find_matrix(graph, node.input[1])) is not None:
            graph.add_product(node.input[0], weights, node.output[0])
        else:
            graph.nodes.append(node)
            continue
        count += 1
    return count


def choose_weight_steps() -> int:
    """Return the most quantization steps of weights whose products are exact on this processor."""
    depth = 64
    node = helper.make_node(
        "MatMulIntegerToFloat", ["a", "b", "one", "one", "zero"], ["c"], domain=_MICROSOFT_DOMAIN
    )
    constants: dict[str, NDArray[np.generic]] = {
        "b": np.full((depth, 16), QUANTIZATION_STEPS, np.int8),
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
    }
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["rows", depth])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["rows", 16])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT_DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": np.full((2, depth), 255, np.uint8)})
    is_exact = bool((product == 255 * QUANTIZATION_STEPS * depth).all())
    return QUANTIZATION_STEPS if is_exact else REDUCED_STEPS


def widen_model(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Convert a model from float16 to float32, in place; a model without float16 is not changed.

    Args:
        model: Converted and returned.
        folder: Holds the model's external tensors.
    """
    halves = [one for one in _iterate_tensors(model.graph) if one.data_type == TensorProto.FLOAT16]
    if not halves:
        return model
    for tensor in halves:
        _load_external_data(tensor, folder)
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        )
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
    """Replace casts of float32 constants to float32 by constants."""
    constants = {one.name: one for one in graph.initializer if one.data_type == TensorProto.FLOAT}
    kept = []
    for node in graph.node:
        target = [attribute.i for attribute in node.attribute if attribute.name == "to"]
        if node.op_type == "Cast" and target == [TensorProto.FLOAT] and node.input[0] in constants:
            value = numpy_helper.to_array(constants[node.input[0]])
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _iterate_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Yield the constants of a graph: its initializers, and those in attributes of nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _iterate_tensors(attribute.g)


def _load_external_data(tensor: TensorProto, folder: Path) -> None:
    if external_data_helper.uses_external_data(tensor):
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.ClearField("data_location")
        del tensor.external_data[:]


def _find_matrix(graph: GraphRewriter, name: str) -> NDArray[np.float32] | None:
    tensor = graph.read_constant(name)
    is_matrix = tensor is not None and tensor.ndim == _MATRIX_RANK and min(tensor.shape) >= MIN_PRODUCT_SIZE
    return tensor if is_matrix else None


def _find_pointwise_weights(graph: GraphRewriter, node: onnx.NodeProto) -> NDArray[np.float32] | None:
    """Return the weights of a pointwise convolution, shape ``(in, out)``; None for any other node."""
    kernel = graph.read_constant(node.input[1]) if node.op_type == "Conv" else None
    if kernel is None or kernel.ndim != _KERNEL_RANK or min(kernel.shape[:2]) < MIN_PRODUCT_SIZE:
        return None
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    is_pointwise = (
        kernel.shape[2] == 1
        and settings.get("strides", [1]) == [1]
        and not any(settings.get("pads", []))
        and settings.get("group", 1) == 1
    )
    return kernel[:, :, 0].T if is_pointwise else None


def _replace_convolution(graph: GraphRewriter, node: onnx.NodeProto, weights: NDArray[np.float32]) -> None:
    """Replace a convolution by a transposition, a product and a transposition."""
    out = node.output[0]
    turned = graph.add_node("Transpose", [node.input[0]], f"{out}_turned", perm=[0, 2, 1])
    product = graph.add_product(turned, weights, f"{out}_product")
    if any(node.input[2:]):
        product = graph.add_node("Add", [product, node.input[2]], f"{out}_biased")
    graph.add_node("Transpose", [product], out, perm=[0, 2, 1])

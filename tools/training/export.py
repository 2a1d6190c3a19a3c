"""Exports a trained model in the forms that the tests read, all with the same weights.

Weights are rounded to 16 bits first, and what is exported computes with them in 32 bits: an ONNX graph holds
them as 16-bit constants with a cast behind each, ``weights.safetensors`` holds them for everything else.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf, open_dict
from onnx import numpy_helper
from safetensors.torch import save_file

from tools.training.evaluate import load_checkpoint
from tools.training.network import BANDS

if TYPE_CHECKING:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel


_OPSET = 17
#: Constants smaller than this stay as they are; a cast costs more than it saves.
_WORTH_ROUNDING = 64
_TOKENIZER = ("tokenizer.model", "tokenizer.vocab", "vocab.txt")


def round_weights(model: EncDecHybridRNNTCTCBPEModel) -> EncDecHybridRNNTCTCBPEModel:
    """Round the trained weights to 16 bits in place; window and filters of the features stay."""
    with torch.no_grad():
        for name, weights in model.state_dict().items():
            if weights.is_floating_point() and not name.startswith("preprocessor."):
                weights.copy_(weights.half().float())
    return model


def export_model(trained: Path, folder: Path) -> None:
    """Write the last checkpoint of ``trained`` to ``folder``: ONNX for onnx-asr, and NeMo's parts."""
    model = round_weights(load_checkpoint(trained))
    folder.mkdir(parents=True, exist_ok=True)
    _write_parts(model, trained / "pieces", folder / "nemo")
    _write_onnx(model, folder)


def _write_parts(model: EncDecHybridRNNTCTCBPEModel, pieces: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    weights = {}
    for name, value in model.state_dict().items():
        exact = value.is_floating_point() and torch.equal(value.half().float(), value)
        weights[name] = (value.half() if exact else value).contiguous()
    save_file(weights, folder / "weights.safetensors")
    (folder / "weights.safetensors").chmod(0o644)
    shape = model.cfg.copy()
    with open_dict(shape):
        shape.tokenizer = {
            "dir": "",
            "type": "bpe",
            "model_path": "nemo:tokenizer.model",
            "vocab_path": "nemo:vocab.txt",
            "spe_tokenizer_vocab": "nemo:tokenizer.vocab",
        }
    # JSON is YAML too, so NeMo and parakeet-mlx read the same file; not every YAML reader knows 1e-05.
    text = json.dumps(OmegaConf.to_container(shape), indent=1, ensure_ascii=False)
    (folder / "model_config.yaml").write_text(text.replace("1e-05", "0.00001") + "\n", "utf-8")
    for name in _TOKENIZER:
        shutil.copyfile(pieces / name, folder / name)


def _write_onnx(model: EncDecHybridRNNTCTCBPEModel, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        model.export(str(Path(scratch) / "model.onnx"), check_trace=False, onnx_opset_version=_OPSET)
        for name in ("encoder-model.onnx", "decoder_joint-model.onnx"):
            graph = onnx.load(Path(scratch) / name)
            _store_in_16_bits(graph.graph)
            onnx.checker.check_model(graph)
            onnx.save(graph, folder / name.replace(".onnx", ".fp16.onnx"))
    vocabulary = [*model.joint.vocabulary, "<blk>"]
    spelled = "".join(f"{piece} {number}\n" for number, piece in enumerate(vocabulary))
    (folder / "vocab.txt").write_text(spelled, "utf-8")
    kind = {"model_type": "nemo-conformer-tdt", "features_size": BANDS, "subsampling_factor": 8}
    (folder / "config.json").write_text(json.dumps(kind, indent=1) + "\n", "utf-8")


def _store_in_16_bits(graph: onnx.GraphProto) -> None:
    """Store each constant in 16 bits if nothing is lost, in 32 bits if not, and each only once."""
    casts = []
    names: dict[bytes, str] = {}
    instead: dict[str, str] = {}
    kept = []
    for constant in _find_constants(graph):
        value = numpy_helper.to_array(constant)
        key = bytes(f"{value.dtype} {value.shape} ", "ascii") + value.tobytes()
        if key in names:
            instead[constant.name] = names[key]
            continue
        names[key] = constant.name
        if value.dtype == np.float32 and value.size >= _WORTH_ROUNDING and _is_exact(value):
            stored = constant.name + ".half"
            kept.append(numpy_helper.from_array(value.astype(np.float16), stored))
            casts.append(
                onnx.helper.make_node("Cast", [stored], [constant.name], stored, to=onnx.TensorProto.FLOAT)
            )
        else:
            kept.append(constant)
    others = [node for node in graph.node if node.op_type != "Constant"]
    for node in others:
        node.input[:] = [instead.get(name, name) for name in node.input]
    del graph.node[:], graph.initializer[:]
    graph.node.extend([*casts, *others])
    graph.initializer.extend(kept)


def _find_constants(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            [attribute] = node.attribute
            value = numpy_helper.to_array(attribute.t)
            found.append(numpy_helper.from_array(value, node.output[0]))
    return found


def _is_exact(value: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(value.astype(np.float16).astype(np.float32), value))

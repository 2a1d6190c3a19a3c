"""Builds Parakeet models of the true shapes with random weights, which cost as much as the real ones.

``python -m tools.benchmarks.shapes 0.6b FOLDER`` and ``… 110m FOLDER`` build one each, in the layouts of
onnx-asr and sherpa-onnx. They need ``nemo_toolkit[asr]`` and onnx (about 8 GB of memory and five minutes for
0.6b). Benchmarks take the parent folder by ``--shapes``.

Raw random weights decode to one token forever. So the joint network is centred on the encoder's output for a
recording, and the bias of the blank is set so that about ``TOKENS_A_FRAME`` are emitted. ``stub.onnx`` has
the interface of the encoder, costs nothing and returns varying frames: it measures decoding alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOKENS_A_FRAME = 0.45
DURATIONS = 5
_RATE = 16_000
_OPSET = 17
#: Length of the recording that a model is centred on.
_SECONDS = 20
_STUB_FRAMES, _TRIED = 1000, 200
_LARGE = 1_500_000_000


@dataclass(frozen=True, slots=True)
class BenchmarkShape:
    """The dimensions that a model's cost depends on.

    Source: the configurations of nvidia/parakeet-tdt-0.6b-v3 and nvidia/parakeet-tdt_ctc-110m.
    """

    pieces: int
    bands: int
    width: int
    layers: int
    prediction_layers: int
    scaled: bool


SHAPES = {
    "0.6b": BenchmarkShape(8192, 128, 1024, 24, 2, scaled=False),
    "110m": BenchmarkShape(1024, 80, 512, 17, 1, scaled=True),
}
_HIDDEN = 640


def main() -> None:
    """Build the shape that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.shapes", description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path, help="the files are written to FOLDER/SHAPE")
    parser.add_argument("--audio", type=Path, help="a recording of speech to centre on; else noise")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    _build_model(SHAPES[given.shape], given.folder / given.shape, _load_audio(given.audio))


def _load_audio(file: Path | None) -> NDArray[np.float32]:
    """Return 20 s at 16 kHz: of the recording, or noise modulated like syllables."""
    if file is None:
        noise = np.random.default_rng(0).normal(size=_SECONDS * _RATE)
        loud = np.repeat(np.random.default_rng(1).uniform(0.005, 0.2, 10 * _SECONDS), _RATE // 10)
        return np.asarray(noise * loud, np.float32)
    import soundfile  # noqa: PLC0415  # comes with NeMo

    samples, rate = soundfile.read(file, dtype="float32")
    if rate != _RATE:
        raise SystemExit(f"{file} is at {rate} Hz, not {_RATE} Hz.")
    return np.asarray(samples[: _SECONDS * _RATE], np.float32)


def _build_model(shape: BenchmarkShape, folder: Path, audio: NDArray[np.float32]) -> None:
    import torch  # noqa: PLC0415  # optional package, slow to import
    from nemo.collections.asr.modules.rnnt import RNNTDecoderJoint  # noqa: PLC0415  # optional package, slow to import

    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    encoder, decoder, joint = _build_modules(shape)
    frames = _center_joint(shape, (encoder, decoder, joint), audio)
    whole = (folder / "encoder-model.int8.onnx").exists()  # built before from the same seed
    for name, module in (
        ("decoder_joint-model", RNNTDecoderJoint(decoder, joint)),
        ("sherpa-decoder", decoder),
        ("sherpa-joiner", joint),
        *(() if whole else (("encoder-model", encoder),)),
    ):
        module.eval()
        module.export(str(folder / f"{name}.onnx"), check_trace=False, onnx_opset_version=_OPSET)
        print("exported", name, flush=True)
    del encoder, decoder, joint, module
    _write_vocabulary(shape, folder)
    _write_stub(shape, folder / "stub.onnx", frames)
    _write_sherpa_encoder(shape, folder)
    for stem in ("decoder_joint-model", "sherpa-decoder", "sherpa-joiner"):
        _quantize_int8(folder, stem)
    if not whole:
        _gather_weights(folder / "encoder-model.onnx")
        _quantize_int8(folder, "encoder-model")


def _build_modules(shape: BenchmarkShape) -> tuple[Any, Any, Any]:
    from nemo.collections.asr.modules import (  # noqa: PLC0415  # optional package, slow to import
        ConformerEncoder,
        RNNTDecoder,
        RNNTJoint,
    )

    encoder = ConformerEncoder(
        feat_in=shape.bands,
        n_layers=shape.layers,
        d_model=shape.width,
        use_bias=shape.scaled,
        subsampling="dw_striding",
        subsampling_factor=8,
        subsampling_conv_channels=256,
        ff_expansion_factor=4,
        self_attention_model="rel_pos",
        n_heads=8,
        xscaling=shape.scaled,
        conv_kernel_size=9,
        conv_norm_type="batch_norm",
    )
    decoder = RNNTDecoder(
        {"pred_hidden": _HIDDEN, "pred_rnn_layers": shape.prediction_layers, "t_max": None, "dropout": 0.0},
        vocab_size=shape.pieces,
        blank_as_pad=True,
    )
    joint = RNNTJoint(
        {
            "encoder_hidden": shape.width,
            "pred_hidden": _HIDDEN,
            "joint_hidden": _HIDDEN,
            "activation": "relu",
            "dropout": 0.0,
        },
        num_classes=shape.pieces,
        vocabulary=_make_up_pieces(shape),
        num_extra_outputs=DURATIONS,
        log_softmax=None,
    )
    return encoder.eval(), decoder.eval(), joint.eval()


def _center_joint(
    shape: BenchmarkShape, modules: tuple[Any, Any, Any], audio: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Make the joint network emit different tokens for different frames; return such frames.

    The output of a random encoder differs little from frame to frame. So the joint network is made blind to
    the mean of all frames and sensitive to the rest.
    """
    import torch  # noqa: PLC0415  # optional package, slow to import

    from echoic.engines.parakeet.features import LogMelExtractor  # noqa: PLC0415  # on the path since ``main``

    encoder, decoder, joint = modules
    features = LogMelExtractor(shape.bands)([audio])
    with torch.no_grad():
        encoded, _ = encoder(
            audio_signal=torch.from_numpy(features.log_mel), length=torch.from_numpy(features.frame_counts)
        )
        mean = encoded[0].mean(1)
        deviation = float((encoded[0] - mean[:, None]).pow(2).mean(0).sqrt().median())
        joint.enc.weight.normal_(0, 1.5 / deviation / shape.width**0.5)
        joint.enc.weight -= torch.outer(joint.enc.weight @ mean, mean) / mean.square().sum()
        joint.enc.bias.zero_()
        said, _ = decoder.predict(torch.arange(64)[:, None], None, add_sos=False)
        joint.pred.weight.normal_(0, float(1 / said.pow(2).mean().sqrt()) / _HIDDEN**0.5)
        output = next(one for one in joint.joint_net if isinstance(one, torch.nn.Linear))
        output.weight.normal_(0, 0.15)
        output.bias.normal_(0, 0.05)
        output.weight[shape.pieces] = 0.0  # no long runs of blanks
        frames = torch.from_numpy(_build_correlated_frames(shape.width) * np.float32(deviation))
        low, high = 0.0, 60.0
        for _ in range(9):
            output.bias[shape.pieces] = (low + high) / 2
            rate = _count_tokens(decoder, joint, frames[:_TRIED], shape.pieces) / _TRIED
            low, high = (low, (low + high) / 2) if rate < TOKENS_A_FRAME else ((low + high) / 2, high)
        output.bias[shape.pieces] = low  # the rate jumps somewhere: rather too many tokens than none
        rate = _count_tokens(decoder, joint, frames[:_TRIED], shape.pieces) / _TRIED
        print(f"tokens a frame: {rate:.2f}; blank's bias {low:.2f}", flush=True)
    return np.ascontiguousarray(frames.numpy())


def _build_correlated_frames(width: int) -> NDArray[np.float32]:
    """Return frames of variance 1 whose correlation with the previous frame is one half."""
    frames = np.random.default_rng(2).normal(size=(_STUB_FRAMES, width)).astype(np.float32)
    for number in range(1, _STUB_FRAMES):
        frames[number] = 0.75**0.5 * frames[number] + 0.5 * frames[number - 1]
    return frames


def _count_tokens(decoder: Any, joint: Any, frames: Any, blank: int) -> int:  # noqa: ANN401  # torch's
    """Return the number of tokens that greedy decoding emits."""
    import torch  # noqa: PLC0415  # optional package, slow to import

    place, count, here = 0, 0, 0
    predicted, state = decoder.predict(None, None, add_sos=False, batch_size=1)
    while place < len(frames):
        logits = joint.joint(frames[None, place : place + 1], predicted)[0, 0, 0]
        token, lasts = int(logits[: blank + 1].argmax()), int(logits[blank + 1 :].argmax())
        if token != blank:
            count, here = count + 1, here + 1
            predicted, state = decoder.predict(torch.tensor([[token]]), state, add_sos=False)
        if token == blank or lasts or here >= 10:
            place, here = place + max(lasts, 1), 0
    return count


def _make_up_pieces(shape: BenchmarkShape) -> list[str]:
    """Return invented pieces, a third of which begin a word."""
    mark = "\N{LOWER ONE EIGHTH BLOCK}"
    return [f"{mark if number % 3 == 0 else ''}{number:x}" for number in range(shape.pieces)]


def _write_vocabulary(shape: BenchmarkShape, folder: Path) -> None:
    lines = [f"{piece} {number}\n" for number, piece in enumerate([*_make_up_pieces(shape), "<blk>"])]
    for name in ("vocab.txt", "tokens.txt"):
        (folder / name).write_text("".join(lines), "utf-8")
    config = {"model_type": "nemo-conformer-tdt", "features_size": shape.bands, "subsampling_factor": 8}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def _gather_weights(file: Path) -> None:
    """Merge the weights that the export scattered over hundreds of files into one."""
    import onnx  # noqa: PLC0415  # optional package, slow to import

    lean = onnx.load(file, load_external_data=False)
    inside = [one.t for node in lean.graph.node for one in node.attribute if one.HasField("t")]
    scattered = {
        entry.value
        for tensor in (*lean.graph.initializer, *inside)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not scattered:
        return
    model = onnx.load(file)
    gathered = file.with_name(f"{file.name}.data")
    gathered.unlink(missing_ok=True)  # otherwise onnx appends to it
    onnx.save(model, file, save_as_external_data=True, location=gathered.name)
    for name in scattered - {gathered.name}:
        (file.parent / name).unlink()


def _write_stub(shape: BenchmarkShape, file: Path, frames: NDArray[np.float32]) -> None:
    """Write a stub of the encoder that returns given frames, from a different offset for each input.

    The offset depends only on the input's length, so the frames are the same for all feature extractors.
    """
    import onnx  # noqa: PLC0415  # optional package, slow to import
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415  # optional package, slow to import

    constants: dict[str, NDArray[Any]] = {
        "seven": np.array(7, np.int64),
        "eight": np.array(8, np.int64),
        "far": np.array(13, np.int64),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "last": np.array([1], np.int64),
        "count": np.array(len(frames), np.int64),
        "frames": frames,
    }
    node = helper.make_node
    nodes = [
        node("Add", ["length", "seven"], ["longer"]),
        node("Div", ["longer", "eight"], ["encoded_lengths"]),
        node("Shape", ["audio_signal"], ["size"], start=2, end=3),
        node("Squeeze", ["size"], ["size0"]),
        node("Add", ["size0", "seven"], ["size7"]),
        node("Div", ["size7", "eight"], ["most"]),
        node("Range", ["zero", "most", "one"], ["steps"]),
        node("Mul", ["encoded_lengths", "far"], ["begins"]),
        node("Unsqueeze", ["begins", "last"], ["column"]),
        node("Add", ["column", "steps"], ["places"]),
        node("Mod", ["places", "count"], ["numbers"]),
        node("Gather", ["frames", "numbers"], ["gathered"], axis=0),
        node("Transpose", ["gathered"], ["outputs"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "stub",
        [
            helper.make_tensor_value_info("audio_signal", TensorProto.FLOAT, ["batch", shape.bands, "time"]),
            helper.make_tensor_value_info("length", TensorProto.INT64, ["batch"]),
        ],
        [
            helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", shape.width, "frames"]),
            helper.make_tensor_value_info("encoded_lengths", TensorProto.INT64, ["batch"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.save(model, file)


def _write_sherpa_encoder(shape: BenchmarkShape, folder: Path) -> None:
    """Write a copy of the stub with the metadata that sherpa-onnx reads from the encoder."""
    import onnx  # noqa: PLC0415  # optional package, slow to import

    facts = {
        "vocab_size": shape.pieces,
        "normalize_type": "per_feature",
        "pred_rnn_layers": shape.prediction_layers,
        "pred_hidden": _HIDDEN,
        "subsampling_factor": 8,
        "model_type": "EncDecRNNTBPEModel",
        "version": 2,
        "model_author": "NeMo",
        "url": "random-weights-tdt",  # sherpa-onnx recognizes a TDT model by this
        "comment": "random weights",
        "feat_dim": shape.bands,
    }
    model = onnx.load(folder / "stub.onnx")
    for key, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, str(value)
    onnx.save(model, folder / "sherpa-encoder.onnx")


def _quantize_int8(folder: Path, stem: str) -> None:
    """Quantize like the published exports: all operators, unsigned weights, dynamic activations."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415  # as above

    source = folder / f"{stem}.onnx"
    (folder / f"{stem}.int8.onnx.data").unlink(missing_ok=True)  # otherwise onnx appends to it
    quantize_dynamic(
        source,
        folder / f"{stem}.int8.onnx",
        weight_type=QuantType.QUInt8,
        use_external_data_format=sum(one.stat().st_size for one in folder.glob(f"{stem}.onnx*")) > _LARGE,
    )
    print("quantized", stem, flush=True)


if __name__ == "__main__":
    main()

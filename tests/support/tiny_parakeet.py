"""The tiny Parakeet and its recordings, and the forms of it that the variants load.

All forms hold the same weights, rounded to 16 bits. The ONNX files are files of the fixture; the
others are built from ``nemo/`` (weights, configuration, tokenizer) on demand.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from echoic.interfaces.engine import Window
from echoic.media import read_audio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from echoic.interfaces.engine import Token

TINY_PARAKEET_FOLDER = Path(__file__).parent.parent / "fixtures" / "tiny-parakeet"
_NEMO_FOLDER = TINY_PARAKEET_FOLDER / "nemo"
#: safetensors' names of types, and numpy's.
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
}


@cache
def read_recordings() -> tuple[tuple[NDArray[np.float32], str], ...]:
    """Return each recording of a sentence at 16 kHz, read-only, and its text."""
    return _read_table("texts.json")


@cache
def read_talks() -> tuple[tuple[NDArray[np.float32], str], ...]:
    """Return each recording of 20 to 40 s with pauses at 16 kHz, read-only, and its text."""
    return _read_table("talks.json")


def _read_table(table: str) -> tuple[tuple[NDArray[np.float32], str], ...]:
    rows = json.loads((TINY_PARAKEET_FOLDER / "speech" / table).read_bytes())
    return tuple(
        (_read_frozen_audio(TINY_PARAKEET_FOLDER / "speech" / row["audio"]), row["text"]) for row in rows
    )


def build_whole_window(audio: NDArray[np.float32]) -> Window:
    """Return all of ``audio`` as one window, the last."""
    return Window(audio, 16_000, 0.0, left_context=0, new_samples=audio.size, right_context=0, is_last=True)


def join_tokens(tokens: tuple[Token, ...]) -> str:
    """Return what tokens spell."""
    return "".join(token.text for token in tokens).strip()


def write_nemo_file(folder: Path) -> Path:
    """Write the model as NeMo saves it (needs torch) and return the file."""
    import torch  # noqa: PLC0415  # optional package, slow to import

    folder.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in read_weights().items()}, packed)
    file = folder / "tiny-parakeet.nemo"
    with tarfile.open(file, "w") as archive:
        for part in sorted(_NEMO_FOLDER.iterdir()):
            if part.suffix != ".safetensors":
                archive.add(part, f"./{part.name}")
        entry = tarfile.TarInfo("./model_weights.ckpt")
        entry.size = len(packed.getbuffer())
        packed.seek(0)
        archive.addfile(entry, packed)
    return file


def write_mlx_folder(folder: Path) -> Path:
    """Write the model as parakeet-mlx loads it into ``folder`` (needs PyYAML) and return that."""
    import yaml  # noqa: PLC0415  # not installed everywhere

    placed: dict[str, NDArray[np.float32]] = {}
    for name, value in read_weights().items():
        if name.startswith("preprocessor.") or name.endswith("num_batches_tracked"):
            continue
        if name.startswith("joint.joint_net."):  # the last layer, which has dropout before it there
            placed[f"joint.joint_net.2.{name.rpartition('.')[2]}"] = value
        elif "lstm." in name:
            placed |= _convert_lstm_part(name, value)
        elif value.ndim > 2:  # a convolution: (out, in, …) there is (out, …, in) here
            placed[name] = np.moveaxis(value, 1, -1)
        else:
            placed[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    _write_tensors(folder / "model.safetensors", placed)
    config = yaml.safe_load((_NEMO_FOLDER / "model_config.yaml").read_bytes())
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def _convert_lstm_part(name: str, value: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    base, _, part = name.rpartition(".")
    kind, _, layer = part.rpartition("_l")
    if kind == "weight_ih":
        return {f"{base}.{layer}.Wx": value}
    if kind == "weight_hh":
        return {f"{base}.{layer}.Wh": value}
    if kind == "bias_ih":
        return {f"{base}.{layer}.bias": value + read_weights()[f"{base}.bias_hh_l{layer}"]}
    return {}


def write_ctc_folder(folder: Path) -> Path:
    """Write an ONNX export of the CTC head and its encoder into ``folder`` (needs onnx) and return that."""
    import onnx  # noqa: PLC0415  # optional package, slow to import

    model = onnx.load(TINY_PARAKEET_FOLDER / "encoder-model.fp16.onnx")
    graph, node = model.graph, onnx.helper.make_node
    head = {"weight": "ctc.weight", "bias": "ctc.bias"}
    for part, name in head.items():
        value = read_weights()[f"ctc_decoder.decoder_layers.0.{part}"]
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    graph.node.extend(
        (
            node("Conv", [graph.output[0].name, *head.values()], ["ctc.scores"]),
            node("Transpose", ["ctc.scores"], ["ctc.by_frame"], perm=[0, 2, 1]),
            node("LogSoftmax", ["ctc.by_frame"], ["logprobs"], axis=-1),
        )
    )
    del graph.output[:]
    kind = onnx.TensorProto.FLOAT
    classes = len(read_weights()["ctc_decoder.decoder_layers.0.bias"])
    graph.output.append(onnx.helper.make_tensor_value_info("logprobs", kind, ["batch", "frames", classes]))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    shutil.copyfile(TINY_PARAKEET_FOLDER / "vocab.txt", folder / "vocab.txt")
    config = json.loads((TINY_PARAKEET_FOLDER / "config.json").read_bytes()) | {
        "model_type": "nemo-conformer-ctc"
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@cache
def read_weights() -> Mapping[str, NDArray[np.float32]]:
    """Return the model's weights by NeMo's names, all of them float32."""
    data = (_NEMO_FOLDER / "weights.safetensors").read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:begin])
    table.pop("__metadata__", None)
    return {name: _read_tensor(data[begin:], row) for name, row in table.items()}


class _TensorEntry(TypedDict):
    """A tensor in safetensors' table of contents."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def _read_tensor(data: bytes, row: _TensorEntry) -> NDArray[np.float32]:
    first, last = row["data_offsets"]
    value = np.frombuffer(data[first:last], _DTYPES[row["dtype"]])
    return value.reshape(row["shape"]).astype(np.float32)


def _write_tensors(file: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write 32-bit tensors in the format safetensors: a table of contents, and then the numbers."""
    table: dict[str, object] = {}
    place = 0
    for name, value in tensors.items():
        table[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": (place, place + value.nbytes)}
        place += value.nbytes
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(np.ascontiguousarray(value).tobytes() for value in tensors.values())
    file.write_bytes(len(head).to_bytes(8, "little") + head + body)


def _read_frozen_audio(file: Path) -> NDArray[np.float32]:
    audio = np.concatenate(list(read_audio(file)))
    audio.flags.writeable = False
    return audio

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from echoic.engines.parakeet.onnx_files import (
    inspect_onnx_folder,
    read_vocab_pieces,
    uses_dynamic_quantization,
)
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import TINY_PARAKEET_FOLDER

ENCODER, JOINT = "encoder-model.fp16.onnx", "decoder_joint-model.fp16.onnx"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(TINY_PARAKEET_FOLDER, folder, ignore=shutil.ignore_patterns("speech", "README.md"))
    return folder


def test_dynamic_quantization_is_detected(copy: Path) -> None:
    assert not uses_dynamic_quantization(copy / JOINT)
    (copy / JOINT).write_bytes(b"\0" * 100 + b"DynamicQuantizeLinear" + b"\0" * 9)
    assert uses_dynamic_quantization(copy / JOINT)


def test_the_fastest_quantization_is_the_default(copy: Path) -> None:
    assert inspect_onnx_folder(copy).encoder.name == ENCODER
    for name in ("encoder-model.int8.onnx", "encoder-model.onnx", "decoder_joint-model.int8.onnx"):
        (copy / name).write_bytes(b"x")
    assert inspect_onnx_folder(copy).encoder.name == "encoder-model.int8.onnx"
    joint = inspect_onnx_folder(copy).joint
    assert joint is not None
    assert joint.name == "decoder_joint-model.int8.onnx"
    assert inspect_onnx_folder(copy, "fp16").encoder.name == ENCODER
    assert inspect_onnx_folder(copy, "").encoder.name == "encoder-model.onnx"
    with pytest.raises(ModelUnavailable, match=r"encoder-model\.q4\.onnx is missing"):
        inspect_onnx_folder(copy, "q4")


def test_an_unknown_quantization_is_used_if_it_is_the_only_one(copy: Path) -> None:
    (copy / ENCODER).rename(copy / "encoder-model.q4.onnx")
    (copy / JOINT).rename(copy / "decoder_joint-model.q4.onnx")
    files = inspect_onnx_folder(copy)
    assert files.joint is not None
    assert (files.encoder.name, files.joint.name) == (
        "encoder-model.q4.onnx",
        "decoder_joint-model.q4.onnx",
    )


def test_pieces_become_text(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("<unk> 0\n<|en|> 1\n▁the 2\ner 3\n▁ 4\n<blk> 5\n", "utf-8")
    assert read_vocab_pieces(file) == ("", "", " the", "er", " ")

from __future__ import annotations

from pathlib import Path

import pytest

from echoic.engines.onnx_runtime import (
    ExecutionProvider,
    PackagedOnnxModel,
    build_session_options,
    list_providers,
    load_cpu_session,
    resolve_providers,
)
from echoic.errors import ModelUnavailable
from support.tiny_parakeet import TINY_PARAKEET_FOLDER


def test_onnxruntime_always_offers_the_cpu() -> None:
    assert "cpu" in list_providers()


@pytest.mark.parametrize(
    ("requested", "available", "names"),
    [
        ("auto", ("cpu",), ("CPUExecutionProvider",)),
        ("auto", ("cpu", "tensorrt", "coreml"), ("CPUExecutionProvider",)),
        ("auto", ("cpu", "cuda", "tensorrt"), ("CUDAExecutionProvider", "CPUExecutionProvider")),
        ("cpu", ("cpu", "cuda"), ("CPUExecutionProvider",)),
        (
            "tensorrt",
            ("cpu", "cuda", "tensorrt"),
            ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
        ),
        ("coreml", ("cpu", "coreml"), ("CoreMLExecutionProvider", "CPUExecutionProvider")),
    ],
)
def test_the_requested_provider_precedes_the_cpu(
    requested: ExecutionProvider, available: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert resolve_providers(requested, available) == names


def test_sessions_use_the_given_cores() -> None:
    options = build_session_options(3)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)


def test_a_session_runs_on_the_cpu() -> None:
    session = load_cpu_session(TINY_PARAKEET_FOLDER / "decoder_joint-model.fp16.onnx")
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_missing_or_broken_packaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"voice\.onnx is missing"):
        PackagedOnnxModel(tmp_path / "voice.onnx")
    (tmp_path / "voice.onnx").write_bytes(b"noise")
    with pytest.raises(ModelUnavailable, match=r"voice\.onnx cannot be read"):
        PackagedOnnxModel(tmp_path / "voice.onnx")

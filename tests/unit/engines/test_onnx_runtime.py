from __future__ import annotations

import pytest

from echoic.engines.onnx_runtime import ExecutionProvider, list_providers, resolve_providers


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

"""Where onnxruntime computes: its execution providers by the names that a setting has for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import onnxruntime as ort

from echoic.errors import ModelUnavailable

ExecutionProvider: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt", "coreml"]
#: Names of settings, and those of onnxruntime.
ONNX_PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
        "coreml": "CoreMLExecutionProvider",
    }
)
#: What ``auto`` takes, the first that is offered. TensorRT and CoreML want to be asked for by name: they
#: compile a graph anew for each length of audio.
AUTO_PROVIDERS = ("cuda", "cpu")
#: What takes the parts of a graph that a provider leaves, before the processor does.
FALLBACK_PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"tensorrt": ("cuda",)})
#: What brings a provider.
INSTALL_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "cuda": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        "tensorrt": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu tensorrt",
    }
)


def list_providers() -> tuple[str, ...]:
    """Return the names of the providers that the installed onnxruntime was built with."""
    import onnxruntime  # whoever only lists models needs it no earlier

    there = onnxruntime.get_available_providers()
    return tuple(name for name, provider in ONNX_PROVIDERS.items() if provider in there)


def resolve_providers(requested: ExecutionProvider, available: Collection[str]) -> tuple[str, ...]:
    """Return onnxruntime's names of the providers to ask for, the best first and the processor last.

    Args:
        requested: What the settings say.
        available: What is offered.

    Raises:
        ModelUnavailable: The one that is wished for by name is not there.
    """
    first = (
        next((name for name in AUTO_PROVIDERS if name in available), "cpu")
        if requested == "auto"
        else requested
    )
    if first not in available:
        reason = f"The installed onnxruntime cannot compute by {first}; it offers {', '.join(available)}."
        raise ModelUnavailable("onnxruntime", reason, INSTALL_COMMANDS.get(first))
    names = (first, *(name for name in FALLBACK_PROVIDERS.get(first, ()) if name in available), "cpu")
    return tuple(dict.fromkeys(ONNX_PROVIDERS[name] for name in names))


class PackagedOnnxModel:
    """A network, ready to run; one call uses one core.

    Args:
        file: Its graph.

    Raises:
        ModelUnavailable: The file is not there, or onnxruntime cannot read it.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise ModelUnavailable("embedded", f"The file {file.name} is missing.")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._onnx_session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no other common class
            raise ModelUnavailable("embedded", f"The file {file.name} cannot be read.") from error

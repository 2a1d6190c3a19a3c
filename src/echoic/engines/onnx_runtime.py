"""ONNX Runtime: execution providers by the names of the settings, session options, packaged models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    import onnxruntime as ort

ExecutionProvider: TypeAlias = Literal["auto", "cpu", "cuda", "tensorrt", "coreml"]
#: Execution providers: onnxruntime's name by the name in the settings.
ONNX_PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
        "coreml": "CoreMLExecutionProvider",
    }
)
#: Candidates for ``auto``; the first available one is used. TensorRT and CoreML must be named: they compile
#: a graph again for each length of audio.
AUTO_PROVIDERS = ("cuda", "cpu")
#: Providers, tried before the CPU, for the parts of a graph that the first provider does not support.
FALLBACK_PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"tensorrt": ("cuda",)})
#: The command that installs a provider.
INSTALL_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "cuda": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
        "tensorrt": "pip uninstall -y onnxruntime && pip install onnxruntime-gpu tensorrt",
    }
)


def list_providers() -> tuple[str, ...]:
    """Return the names of the providers that the installed onnxruntime was built with."""
    import onnxruntime as ort  # noqa: PLC0415  # slow to import; listing models does not need it

    available = ort.get_available_providers()
    return tuple(name for name, provider in ONNX_PROVIDERS.items() if provider in available)


def resolve_providers(requested: ExecutionProvider, available: Collection[str]) -> tuple[str, ...]:
    """Return onnxruntime's names of the providers to use, in order of preference; the CPU is last.

    Args:
        requested: The provider in the settings.
        available: The providers of the installed onnxruntime, by their names in the settings.

    Raises:
        ModelUnavailable: The requested provider is not available.
    """
    first = (
        next((name for name in AUTO_PROVIDERS if name in available), "cpu")
        if requested == "auto"
        else requested
    )
    if first not in available:
        reason = f"The installed onnxruntime does not support {first}; it supports {', '.join(available)}."
        raise ModelUnavailable("onnxruntime", reason, INSTALL_COMMANDS.get(first))
    names = (first, *(name for name in FALLBACK_PROVIDERS.get(first, ()) if name in available), "cpu")
    return tuple(dict.fromkeys(ONNX_PROVIDERS[name] for name in names))


def build_session_options(cores: int = 1) -> ort.SessionOptions:
    """Return options for sessions that run beside others: ``cores`` threads a call, no busy waiting."""
    import onnxruntime as ort  # noqa: PLC0415  # slow to import; listing models does not need it

    options = ort.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def load_cpu_session(file: Path) -> ort.InferenceSession:
    """Return a session on the CPU whose calls use one core each.

    Args:
        file: The graph, ``.onnx`` or ``.ort``.
    """
    import onnxruntime as ort  # noqa: PLC0415  # slow to import; listing models does not need it

    return ort.InferenceSession(file, build_session_options(), providers=["CPUExecutionProvider"])


class PackagedOnnxModel:
    """A small network that echoic ships, loaded on the CPU; a call uses one core.

    Args:
        file: The ONNX graph.

    Raises:
        ModelUnavailable: The file is missing, or onnxruntime cannot read it.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise ModelUnavailable("embedded", f"The file {file.name} is missing.")
        try:
            self._onnx_session = load_cpu_session(file)
        except Exception as error:  # onnxruntime's errors have no other common class
            raise ModelUnavailable("embedded", f"The file {file.name} cannot be read.") from error

"""A network that comes with the package, by onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime as ort

from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path


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

"""Parakeet (TDT, RNNT and CTC) on NVIDIA NeMo and torch.

echoic computes the features and decodes, so that all variants give the same text; NeMo runs the encoder, the
prediction network and the joint network (``nemo_networks``). NeMo's whole model is not loaded: it would need
losses, data loaders and a tokenizer, and its decoding keeps no state between windows.

A call does not change the loaded model. Loading takes some 20 s, mostly for NeMo's import. It also sets the
number of threads of one torch operation on the CPU for the whole process.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from echoic.engines.parakeet.engine import Parakeet, ParakeetModel, ParakeetOptions
from echoic.engines.parakeet.nemo_files import (
    NEMO_INSTALL_COMMAND,
    NEMO_MODEL_ID,
    TorchOptions,
    build_nemo_error,
    inspect_nemo_model,
)

#: Loggers of NeMo and its dependencies, which write about training.
_SILENCED_LOGGERS = ("nemo_logger", "nv_one_logger", "lightning", "lightning.pytorch")


class ParakeetNemo(Parakeet):
    """Parakeet from NVIDIA's own files (implements ``Engine``).

    Args:
        model_path: A ``.nemo`` file, or a folder (see ``nemo_files.inspect_nemo_model``).
        options: Options of every Parakeet. None means the defaults.
        torch_options: Options of torch.

    Raises:
        ModelUnavailable: A package is missing, or the model is missing, broken or not a Parakeet.
        ValueError: The left context is less than one frame.
    """

    def __init__(
        self,
        model_path: Path,
        options: ParakeetOptions | None = None,
        torch_options: TorchOptions | None = None,
    ) -> None:
        parts = inspect_nemo_model(model_path)
        with _silence_nemo():
            try:
                from echoic.engines.parakeet import nemo_networks as modules  # noqa: PLC0415  # takes seconds
            except ImportError as failure:
                missing = failure.name or "one of its modules"
                raise build_nemo_error(
                    f"NeMo cannot be imported: {missing} is missing.", NEMO_INSTALL_COMMAND
                ) from failure
            loaded = modules.load_nemo_model(parts, torch_options or TorchOptions())
        architecture = loaded.architecture
        encoder, decoder = modules.NemoEncoder(loaded), modules.build_decoder(loaded)
        super().__init__(
            ParakeetModel(
                NEMO_MODEL_ID,
                encoder,
                decoder,
                architecture.pieces,
                architecture.bands,
                architecture.subsampling,
            ),
            options or ParakeetOptions(),
        )


@contextmanager
def _silence_nemo() -> Iterator[None]:
    """Suppress the logs and warnings of NeMo's import, and restore Python's warning filters."""
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

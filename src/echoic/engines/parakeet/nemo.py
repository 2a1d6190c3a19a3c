"""Parakeet (TDT, RNNT and CTC) by NVIDIA NeMo, on torch.

Features and decoding are echoic's, so that all variants say the same; NeMo computes the encoder, the
prediction network and the joint network (``parakeet_nemo_modules``). Its whole model is not asked for: that
would bring losses, data loaders and a tokenizer, and its own decoding forgets where it stood.

Nothing in a loaded model is changed by a call. Loading takes some 20 s, most of it NeMo's import, and sets
how many threads torch uses for one operation on the CPU: that holds for the whole process.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echoic.engines.parakeet.engine import Parakeet, ParakeetModel, ParakeetOptions
from echoic.engines.parakeet.nemo_files import (
    NEMO_INSTALL_COMMAND,
    NEMO_MODEL_ID,
    DecodingHead,
    build_nemo_error,
    inspect_nemo_model,
)

#: The loggers of NeMo and of what it brings, which tell a server's log about training.
_SILENCED_LOGGERS = ("nemo_logger", "nv_one_logger", "lightning", "lightning.pytorch")


@dataclass(frozen=True, slots=True)
class TorchOptions:
    """How torch runs.

    Attributes:
        device: ``auto``: the first GPU, or else the CPU; anything else by torch's own name for it.
        precision: What is computed with; 16 bits are faster where the hardware knows them, and say a word
            differently now and then.
        cores: Cores that one call uses on the CPU.
        head: The head to use of a hybrid; None: the transducer, where there is one.
    """

    device: str = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    cores: int = 1
    head: DecodingHead | None = None


class ParakeetNemo(Parakeet):
    """Parakeet from NVIDIA's own files (``engines.base.Engine``).

    Args:
        model_path: A ``.nemo`` file, or a folder, as ``parakeet_nemo_files.look_at`` takes them.
        options: What may be set of every Parakeet; None: all as usual.
        torch_options: How torch runs.

    Raises:
        ModelUnavailable: A package is missing, or the model is missing, broken or no Parakeet.
        ValueError: A left context of less than one frame.
    """

    def __init__(
        self,
        model_path: Path,
        options: ParakeetOptions | None = None,
        torch_options: TorchOptions = TorchOptions(),
    ) -> None:
        parts = inspect_nemo_model(model_path)
        with _silence_nemo():
            try:
                from echoic.engines.parakeet import nemo_modules as modules  # noqa: PLC0415  # takes seconds
            except ImportError as failure:
                missing = failure.name or "a part of it"
                raise build_nemo_error(
                    f"NeMo cannot be imported: {missing} is missing.", NEMO_INSTALL_COMMAND
                ) from failure
            loaded = modules.load_nemo_model(parts, torch_options)
        read = loaded.architecture
        encoder, decoder = modules.NemoEncoder(loaded), modules.build_decoder(loaded)
        super().__init__(
            ParakeetModel(NEMO_MODEL_ID, encoder, decoder, read.pieces, read.bands, read.subsampling),
            options or ParakeetOptions(),
        )


@contextmanager
def _silence_nemo() -> Iterator[None]:
    """Let NeMo's import say nothing, and leave Python's way of showing warnings as it was."""
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

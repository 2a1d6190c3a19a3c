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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from echoic.engines.parakeet import Model, Parakeet, Tuning
from echoic.engines.parakeet_nemo_files import INSTALL, NAME, Head, look_at, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The loggers of NeMo and of what it brings, which tell a server's log about training.
_LOGGERS = ("nemo_logger", "nv_one_logger", "lightning", "lightning.pytorch")


@dataclass(frozen=True, slots=True)
class Torch:
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
    head: Head | None = None


class ParakeetNemo(Parakeet):
    """Parakeet from NVIDIA's own files (``engines.base.Engine``).

    Args:
        model: A ``.nemo`` file, or a folder, as ``parakeet_nemo_files.look_at`` takes them.
        tuning: What may be set of every Parakeet; None: all as usual.
        torch: How torch runs.

    Raises:
        ModelUnavailable: A package is missing, or the model is missing, broken or no Parakeet.
        ValueError: A left context of less than one frame.
    """

    def __init__(self, model: Path, tuning: Tuning | None = None, torch: Torch = Torch()) -> None:
        parts = look_at(model)
        with _quiet():
            try:
                from echoic.engines import parakeet_nemo_modules as modules  # noqa: PLC0415  # takes seconds
            except ImportError as failure:
                missing = failure.name or "a part of it"
                raise unusable(f"NeMo cannot be imported: {missing} is missing.", INSTALL) from failure
            loaded = modules.load(parts, torch)
        read = loaded.architecture
        encoder, decoder = modules.NemoEncoder(loaded), modules.decoder(loaded)
        super().__init__(
            Model(NAME, encoder, decoder, read.pieces, read.bands, read.subsampling), tuning or Tuning()
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Let NeMo's import say nothing, and leave Python's way of showing warnings as it was."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

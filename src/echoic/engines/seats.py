"""The models of this version: what each needs, where its weights are looked for, how it is loaded.

A probe looks for libraries by their specification and for weights on the disk; it imports no model library.
The module of an engine is imported when the engine is loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from echoic.engines.registry import DEFAULT, Missing, Registry, Seat
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from echoic.engines.base import Engine

#: The modules that an extra brings, and what to tell whoever lacks one of them.
EXTRAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nemo": {"nemo": "nemo_toolkit[asr]", "torch": "torch"},
        "mlx": {"mlx": "mlx", "parakeet_mlx": "parakeet-mlx"},
        "whisper": {"faster_whisper": "faster-whisper"},
    }
)
NO_RUNTIME = Missing("The package onnxruntime is not installed.", "pip install onnxruntime")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings say about models.

    Attributes:
        models_dir: The folder that models are fetched to; None: in this user's cache.
        parakeet_onnx_dir: The folder of the model ``parakeet-onnx``; None: one that was fetched.
        parakeet_nemo_file: The ``.nemo`` file of ``parakeet-standard``; None: one that was fetched.
        parakeet_mlx_dir: The folder of ``parakeet-mlx``; None: one that was fetched.
        whisper_dir: The folder of ``whisper`` in CTranslate2's layout; None: one that was fetched.
    """

    models_dir: Path | None = None
    parakeet_onnx_dir: Path | None = None
    parakeet_nemo_file: Path | None = None
    parakeet_mlx_dir: Path | None = None
    whisper_dir: Path | None = None


def standard_registry(wishes: Wishes = Wishes(), *, scripted: bool = False) -> Registry:
    """Return the table of all models of this version.

    Args:
        wishes: What the settings say about them.
        scripted: With the one for tests and load.
    """
    seats = [
        _extra_seat(
            "parakeet-standard", "nemo", ("parakeet_nemo", "ParakeetNemo"), wishes.parakeet_nemo_file
        ),
        _parakeet_onnx_seat(wishes),
        _extra_seat("parakeet-mlx", "mlx", ("parakeet_mlx", "ParakeetMlx"), wishes.parakeet_mlx_dir),
        _extra_seat("whisper", "whisper", ("whisper", "Whisper"), wishes.whisper_dir),
        Seat(DEFAULT, "moonshine", "standard", _probe_moonshine, _load_moonshine),
    ]
    if scripted:
        seats.append(Seat("scripted", "scripted", "standard", _nothing_missing, _load_scripted))
    return Registry(seats, preferred=("parakeet-onnx",))


def missing_extra(extra: str) -> Missing | None:
    """Return what is missing of an extra's libraries; nothing is imported."""
    absent = [package for module, package in EXTRAS[extra].items() if find_spec(module) is None]
    if not absent:
        return None
    names = f"package {absent[0]} is" if len(absent) == 1 else f"packages {' and '.join(absent)} are"
    return Missing(f"The {names} not installed.", f"pip install 'echoic[{extra}]'")


def _extra_seat(name: str, extra: str, engine: tuple[str, str], place: Path | None) -> Seat:
    """Return the seat of an engine that an extra brings; ``engine``: its module and class."""
    model, _, variant = name.partition("-")
    module = f"echoic.engines.{engine[0]}"

    def probe() -> Missing | None:
        if find_spec(module) is None:
            return Missing("This version of echoic has no engine for it yet.")
        if missing := missing_extra(extra):
            return missing
        return None if place is not None and place.exists() else Missing("Its weights are not here.")

    def load() -> Engine:
        loaded: Engine = getattr(import_module(module), engine[1])(place)
        return loaded

    return Seat(name, model, variant or "standard", probe, load, word_timestamps=True)


def _parakeet_onnx_seat(wishes: Wishes) -> Seat:
    """Return the seat of Parakeet by onnxruntime; the folder is looked for with each probe."""

    def place() -> Path:
        from echoic.engines import parakeet_files, weights  # noqa: PLC0415  # a seat imports when asked

        cache = wishes.models_dir or weights.user_cache(os.environ)
        found = wishes.parakeet_onnx_dir or weights.find_model(cache)
        if found is None:
            raise parakeet_files.unusable("Its weights are not here.")
        parakeet_files.look_through(found)
        return found

    def load() -> Engine:
        from echoic.engines.parakeet_onnx import ParakeetOnnx  # noqa: PLC0415  # the same

        return ParakeetOnnx(place())

    return Seat("parakeet-onnx", "parakeet", "onnx", _with_runtime(place), load, word_timestamps=True)


def _with_runtime(place: Callable[[], Path]) -> Callable[[], Missing | None]:
    """Return a probe: onnxruntime is there, and ``place`` does not refuse."""

    def probe() -> Missing | None:
        if find_spec("onnxruntime") is None:
            return NO_RUNTIME
        try:
            place()
        except ModelUnavailable as refusal:
            return Missing(refusal.reason, refusal.install)
        return None

    return probe


def _probe_moonshine() -> Missing | None:
    if find_spec("onnxruntime") is None:
        return NO_RUNTIME
    try:
        from echoic.engines import moonshine  # noqa: PLC0415  # a seat imports its engine when asked
    except ImportError:
        return Missing("The package onnxruntime is installed but cannot be imported.")
    found = moonshine.probe()
    if found.available:
        return None
    return Missing(found.reason or "Its weights are missing.", found.install)


def _load_moonshine() -> Engine:
    from echoic.engines.moonshine import Moonshine  # noqa: PLC0415  # a seat imports its engine when asked

    return Moonshine()


def _nothing_missing() -> None:
    return None


def _load_scripted() -> Engine:
    from echoic.engines.scripted import Scripted  # noqa: PLC0415  # a seat imports its engine when asked

    return Scripted()

"""The models of this version: what each needs, where its weights are looked for, how it is loaded.

A probe looks for libraries by their specification and for weights on the disk; it imports no model library.
The module of an engine is imported when the engine is loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from echoic.engines import catalogue, parakeet_files, providers, weights, whisper_files
from echoic.engines.parakeet import Tuning
from echoic.engines.registry import DEFAULT, NAMES, Registry, Seat
from echoic.errors import Missing, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from echoic.engines.base import Engine
    from echoic.engines.parakeet_onnx import Runtime
    from echoic.engines.providers import Provider

#: The modules that an extra brings, and their packages.
EXTRAS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nemo": {"torch": "torch", "nemo": "nemo_toolkit", "lightning": "lightning"},
        "whisper": {"faster_whisper": "faster-whisper", "ctranslate2": "ctranslate2"},
    }
)
NO_RUNTIME = Missing("The package onnxruntime is not installed.", "pip install onnxruntime")
NO_WEIGHTS = "Its weights are not here."
#: Quantizations that a GPU is quickest with; the others are made for processors.
ON_GPU = ("fp16", "")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings say about models; None leaves it to the engine.

    Attributes:
        models_dir: The folder that models are fetched to; None: in this user's cache.
        parakeet_onnx_dir: The folder of the model ``parakeet-onnx``; None: one that was fetched.
        parakeet_nemo_file: The ``.nemo`` file of ``parakeet-standard``, or a folder; None: the same.
        parakeet_mlx_dir: The folder of ``parakeet-mlx``; None: the same.
        whisper_model: The size that ``whisper`` means, or a folder; None: the same.
        left_context: Seconds before a window that Parakeet sees.
        right_context: Seconds after it that Parakeet sees.
        lanes: The most windows that Parakeet decodes together.
        threads: The most decodes of a model at the same time.
        cores: Cores that one decode uses.
        quantization: Parakeet's by onnxruntime: a suffix, empty for full precision.
        onnx_provider: Where onnxruntime computes.
        device: Where torch and CTranslate2 compute.
        whisper_stands_in: Whether Whisper stands in for others, before all that do so anyway.
    """

    models_dir: Path | None = None
    parakeet_onnx_dir: Path | None = None
    parakeet_nemo_file: Path | None = None
    parakeet_mlx_dir: Path | None = None
    whisper_model: str | None = None
    left_context: float | None = None
    right_context: float | None = None
    lanes: int | None = None
    threads: int = 2
    cores: int = 1
    quantization: str | None = None
    onnx_provider: Provider = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    whisper_stands_in: bool = False

    @property
    def cache(self) -> Path:
        """The folder that models are fetched to."""
        return self.models_dir or weights.user_cache(os.environ)

    @property
    def tuning(self) -> Tuning:
        """What is set of every Parakeet."""
        usual = Tuning()
        return Tuning(
            left_context=usual.left_context if self.left_context is None else self.left_context,
            right_context=usual.right_context if self.right_context is None else self.right_context,
            lanes=self.lanes or usual.lanes,
            threads=self.threads,
        )


def standard_registry(wishes: Wishes = Wishes(), *, scripted: bool = False) -> Registry:
    """Return the table of all models of this version.

    Args:
        wishes: What the settings say about them.
        scripted: With the one for tests and load.
    """
    seats = [
        _standard_seat(wishes),
        *_onnx_seats(wishes),
        _mlx_seat(wishes),
        *_whisper_seats(wishes),
        _moonshine_seat(wishes),
    ]
    if scripted:
        seats.append(Seat("scripted", "scripted", "standard", lambda: None, _load_scripted))
    first = (whisper_files.NAME,) if wishes.whisper_stands_in else ()
    return Registry(seats, preferred=(*first, "parakeet-onnx", "parakeet-standard", "parakeet-mlx"))


def require(extra: str) -> None:
    """Return if an extra's libraries are installed; nothing is imported.

    Raises:
        ModelUnavailable: One is not: which, and the command that brings it.
    """
    absent = [package for module, package in EXTRAS[extra].items() if find_spec(module) is None]
    if absent:
        names = " and ".join([*([", ".join(absent[:-1])] if absent[1:] else []), absent[-1]])
        what = f"The packages {names} are" if absent[1:] else f"The package {names} is"
        raise ModelUnavailable(extra, f"{what} not installed.", f"pip install 'echoic[{extra}]'")


def _probe(look: Callable[[], object]) -> Callable[[], Missing | None]:
    """Return a probe: nothing is missing if ``look`` does not refuse, and can read what is there."""

    def probe() -> Missing | None:
        try:
            look()
        except ModelUnavailable as refusal:
            return Missing(refusal.reason, refusal.install)
        except RecursionError:
            return Missing("A file of it is broken: what it holds is nested too deeply.")
        except OSError as error:
            return Missing(f"Its files cannot be read: {error.strerror or 'unknown reason'}.")
        return None

    return probe


def _languages(place: Callable[[], Path | None]) -> Callable[[], tuple[str, ...]]:
    def languages() -> tuple[str, ...]:
        found = place()
        return weights.languages_of(found if found.is_dir() else found.parent) if found else ()

    return languages


def _standard_seat(wishes: Wishes) -> Seat:
    """Return the seat of Parakeet by NeMo."""

    def place() -> Path | None:
        return wishes.parakeet_nemo_file or weights.find_file(wishes.cache, catalogue.names_of("nemo"))

    def found() -> Path:
        from echoic.engines.parakeet_nemo_files import look_at  # noqa: PLC0415  # a seat imports when asked

        require("nemo")
        if (model := place()) is None:
            raise ModelUnavailable("nemo", NO_WEIGHTS, "echoic models get parakeet-tdt-0.6b-v3-nemo")
        look_at(model)
        return model

    def load() -> Engine:
        from echoic.engines.parakeet_nemo import ParakeetNemo, Torch  # noqa: PLC0415  # the same

        return ParakeetNemo(found(), wishes.tuning, Torch(wishes.device, cores=wishes.cores))

    seat = Seat("parakeet-standard", "parakeet", "standard", _probe(found), load, word_timestamps=True)
    return replace(seat, place=place, languages=_languages(place))


def _onnx_seats(wishes: Wishes) -> Iterator[Seat]:
    """Yield the seats of Parakeet by onnxruntime, whichever that is, and of each that has no other name."""

    def usual() -> Path | None:
        return wishes.parakeet_onnx_dir or weights.find_model(wishes.cache)

    yield _onnx_seat(parakeet_files.NAME, usual, wishes)
    for name in catalogue.names_of("onnx", "ctc"):
        if name not in NAMES:
            place = partial(weights.find_model, wishes.cache, (name,))
            yield replace(_onnx_seat(name, place, wishes), listed=False)


def _onnx_seat(name: str, place: Callable[[], Path | None], wishes: Wishes) -> Seat:
    def found() -> Path:
        if find_spec("onnxruntime") is None:
            raise ModelUnavailable(name, NO_RUNTIME.reason, NO_RUNTIME.install)
        if (folder := place()) is None:
            brings = parakeet_files.INSTALL if name == parakeet_files.NAME else f"echoic models get {name}"
            raise ModelUnavailable(name, NO_WEIGHTS, brings)
        parakeet_files.look_through(folder, wishes.quantization)
        if wishes.onnx_provider != "auto":
            providers.chosen(wishes.onnx_provider, providers.offered())
        return folder

    def load() -> Engine:
        from echoic.engines.parakeet_onnx import ParakeetOnnx  # noqa: PLC0415  # a seat imports when asked

        folder = found()
        return ParakeetOnnx(folder, wishes.tuning, _runtime(wishes, folder))

    seat = Seat(name, "parakeet", "onnx", _probe(found), load, word_timestamps=True)
    return replace(seat, place=place, languages=_languages(place))


def _runtime(wishes: Wishes, folder: Path) -> Runtime:
    from echoic.engines.parakeet_onnx import Runtime  # noqa: PLC0415  # a seat imports its engine when asked

    by = providers.chosen(wishes.onnx_provider, providers.offered())
    quantization = wishes.quantization
    if quantization is None and by[0] != providers.PROVIDERS["cpu"]:
        there = weights.quantizations(folder, parakeet_files.ENCODER)
        quantization = next((one for one in ON_GPU if one in there), None)
    return Runtime(quantization, wishes.cores, by)


def _mlx_seat(wishes: Wishes) -> Seat:
    """Return the seat of Parakeet by MLX."""

    def place() -> Path | None:
        return wishes.parakeet_mlx_dir or weights.find_model(wishes.cache, catalogue.names_of("mlx"))

    def found() -> Path:
        from echoic.engines import parakeet_mlx_files as files  # noqa: PLC0415  # a seat imports when asked

        files.require_libraries()
        if (folder := place()) is None:
            raise files.unusable(NO_WEIGHTS)
        files.look_through(folder)
        return folder

    def load() -> Engine:
        from echoic.engines.parakeet_mlx import ParakeetMlx  # noqa: PLC0415  # the same

        return ParakeetMlx(found(), wishes.tuning)

    seat = Seat("parakeet-mlx", "parakeet", "mlx", _probe(found), load, word_timestamps=True)
    return replace(seat, place=place, languages=_languages(place))


def _whisper_seats(wishes: Wishes) -> Iterator[Seat]:
    """Yield the seats of ``whisper``, whichever size that is, and of each size."""
    names = catalogue.names_of("whisper")

    def usual() -> Path | None:
        if wishes.whisper_model is not None:
            return whisper_files.folder_of(wishes.whisper_model, wishes.cache)
        return whisper_files.find(wishes.cache, names)

    yield _whisper_seat(whisper_files.NAME, usual, wishes)
    for name in names:
        yield replace(_whisper_seat(name, partial(_folder, wishes.cache / name), wishes), listed=False)


def _folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _whisper_seat(name: str, place: Callable[[], Path | None], wishes: Wishes) -> Seat:
    def found() -> Path:
        require("whisper")
        if (folder := place()) is None:
            raise whisper_files.unusable(NO_WEIGHTS, name)
        return whisper_files.look_through(folder, name)

    def load() -> Engine:
        from echoic.engines.whisper import Tuning, Whisper  # noqa: PLC0415  # a seat imports its engine when asked

        return Whisper(found(), name, Tuning(wishes.device, wishes.cores, wishes.threads))

    seat = Seat(name, "whisper", "standard", _probe(found), load, word_timestamps=True)
    return replace(seat, place=place, languages=_languages(place))


def _moonshine_seat(wishes: Wishes) -> Seat:
    """Return the seat of the default model."""

    def probe() -> Missing | None:
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

    def load() -> Engine:
        from echoic.engines.moonshine import Moonshine  # noqa: PLC0415  # the same

        return Moonshine(threads=wishes.threads)

    return Seat(DEFAULT, "moonshine", "standard", probe, load, languages=lambda: catalogue.ENGLISH)


def _load_scripted() -> Engine:
    from echoic.engines.scripted import Scripted  # noqa: PLC0415  # a seat imports its engine when asked

    return Scripted()

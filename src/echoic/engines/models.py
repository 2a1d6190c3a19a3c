"""Defines the models of this version: their requirements, their weights, and how to load them.

A probe checks whether libraries are installed and weights are on the disk; it imports no model library. The
module of an engine is imported when the engine is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from echoic.engines import onnx_runtime, whisper_files
from echoic.engines.parakeet import onnx_files
from echoic.engines.parakeet.engine import ParakeetOptions
from echoic.engines.registry import DEFAULT_MODEL, MODEL_ALIASES, ModelSpec, Registry
from echoic.engines.settings import EngineSettings
from echoic.engines.store import cache, catalogue
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import Engine

#: Modules that each extra installs, with the names of their packages.
EXTRA_PACKAGES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "nemo": {"torch": "torch", "nemo": "nemo_toolkit", "lightning": "lightning"},
        "whisper": {"faster_whisper": "faster-whisper", "ctranslate2": "ctranslate2"},
    }
)
MISSING_RUNTIME = Unavailable("The package onnxruntime is not installed.", "pip install onnxruntime")
MISSING_WEIGHTS_REASON = "Its weights have not been downloaded."
#: Quantizations that are fastest on a GPU; the others are for CPUs.
GPU_QUANTIZATIONS = ("fp16", "")


def build_standard_registry(
    settings: EngineSettings | None = None, *, max_concurrency: int = 2, include_scripted: bool = False
) -> Registry:
    """Return the registry of all models of this version.

    Args:
        settings: Where the models are, and how they decode. None means the defaults.
        max_concurrency: The most decodes of one model that run at the same time.
        include_scripted: Add the scripted engine, for tests and load.
    """
    settings = settings or EngineSettings()
    options = settings.build_parakeet_options(max_concurrency)
    specs = [
        _build_nemo_spec(settings, options),
        *_build_onnx_specs(settings, options),
        _build_mlx_spec(settings, options),
        *_build_whisper_specs(settings, max_concurrency),
        _build_moonshine_spec(max_concurrency),
    ]
    if include_scripted:
        specs.append(ModelSpec("scripted", "scripted", "standard", lambda: None, _load_scripted))
    first = (whisper_files.WHISPER_MODEL_ID,) if settings.streaming_fallback_to_whisper else ()
    return Registry(specs, preferred=(*first, "parakeet-onnx", "parakeet-standard", "parakeet-mlx"))


def check_extra_installed(extra: str) -> None:
    """Check that an extra's libraries are installed, without importing them.

    Raises:
        ModelUnavailable: A library is missing; the error names its package and the command to install it.
    """
    absent = [package for module, package in EXTRA_PACKAGES[extra].items() if find_spec(module) is None]
    if absent:
        names = " and ".join([*([", ".join(absent[:-1])] if absent[1:] else []), absent[-1]])
        what = f"The packages {names} are" if absent[1:] else f"The package {names} is"
        raise ModelUnavailable(extra, f"{what} not installed.", f"pip install 'echoic[{extra}]'")


def _build_probe(check_files: Callable[[], object]) -> Callable[[], Unavailable | None]:
    """Return a probe that reports why ``check_files`` raises ``ModelUnavailable`` or cannot read a file."""

    def probe_files() -> Unavailable | None:
        try:
            check_files()
        except ModelUnavailable as refusal:
            return Unavailable(refusal.reason, refusal.install)
        except RecursionError:
            return Unavailable("One of its files is damaged: its JSON is nested too deeply.")
        except OSError as error:
            return Unavailable(f"Its files cannot be read: {error.strerror or 'unknown reason'}.")
        return None

    return probe_files


def _build_language_reader(find_weights: Callable[[], Path | None]) -> Callable[[], tuple[str, ...]]:
    def read_languages() -> tuple[str, ...]:
        found = find_weights()
        return cache.read_languages(found if found.is_dir() else found.parent) if found else ()

    return read_languages


def _build_nemo_spec(settings: EngineSettings, options: ParakeetOptions) -> ModelSpec:
    """Return Parakeet on NeMo."""

    def find_weights() -> Path | None:
        return settings.parakeet_nemo_file or cache.find_model_file(
            settings.cache_folder, catalogue.list_model_names("nemo")
        )

    def check_weights() -> Path:
        from echoic.engines.parakeet.nemo_files import inspect_nemo_model  # noqa: PLC0415  # imported when the model is used

        check_extra_installed("nemo")
        if (model := find_weights()) is None:
            raise ModelUnavailable(
                "nemo", MISSING_WEIGHTS_REASON, "echoic models get parakeet-tdt-0.6b-v3-nemo"
            )
        inspect_nemo_model(model)
        return model

    def load_engine() -> Engine:
        from echoic.engines.parakeet.nemo import ParakeetNemo  # noqa: PLC0415  # imported when the model is loaded
        from echoic.engines.parakeet.nemo_files import TorchOptions  # noqa: PLC0415  # imported when the model is loaded

        return ParakeetNemo(
            check_weights(), options, TorchOptions(settings.device, cores=settings.decode_cores)
        )

    spec = ModelSpec(
        "parakeet-standard",
        "parakeet",
        "standard",
        _build_probe(check_weights),
        load_engine,
        word_timestamps=True,
    )
    return replace(spec, find_weights=find_weights, languages=_build_language_reader(find_weights))


def _build_onnx_specs(settings: EngineSettings, options: ParakeetOptions) -> Iterator[ModelSpec]:
    """Yield Parakeet on onnxruntime: the default model, then each model that has no alias."""

    def find_default_weights() -> Path | None:
        return settings.parakeet_onnx_dir or cache.find_model_folder(settings.cache_folder)

    yield _build_onnx_spec(onnx_files.ONNX_MODEL_ID, find_default_weights, settings, options)
    for name in catalogue.list_model_names("onnx", "ctc"):
        if name not in MODEL_ALIASES:
            place = partial(cache.find_model_folder, settings.cache_folder, (name,))
            yield replace(_build_onnx_spec(name, place, settings, options), listed=False)


def _build_onnx_spec(
    name: str, find_weights: Callable[[], Path | None], settings: EngineSettings, options: ParakeetOptions
) -> ModelSpec:
    def check_weights() -> Path:
        if find_spec("onnxruntime") is None:
            raise ModelUnavailable(name, MISSING_RUNTIME.reason, MISSING_RUNTIME.install)
        if (folder := find_weights()) is None:
            brings = (
                onnx_files.ONNX_DOWNLOAD_COMMAND
                if name == onnx_files.ONNX_MODEL_ID
                else f"echoic models get {name}"
            )
            raise ModelUnavailable(name, MISSING_WEIGHTS_REASON, brings)
        onnx_files.inspect_onnx_folder(folder, settings.parakeet_quantization)
        if settings.onnx_provider != "auto":
            onnx_runtime.resolve_providers(settings.onnx_provider, onnx_runtime.list_providers())
        return folder

    def load_engine() -> Engine:
        from echoic.engines.parakeet.onnx import (  # noqa: PLC0415  # imported when the model is loaded
            OnnxOptions,
            ParakeetOnnx,
        )

        folder = check_weights()
        providers = onnx_runtime.resolve_providers(settings.onnx_provider, onnx_runtime.list_providers())
        is_on_cpu = providers[0] == onnx_runtime.ONNX_PROVIDERS["cpu"]
        quantization = settings.parakeet_quantization
        if quantization is None and not is_on_cpu:
            quantization = _find_gpu_quantization(folder)
        return ParakeetOnnx(folder, options, OnnxOptions(quantization, settings.decode_cores, providers))

    spec = ModelSpec(name, "parakeet", "onnx", _build_probe(check_weights), load_engine, word_timestamps=True)
    return replace(spec, find_weights=find_weights, languages=_build_language_reader(find_weights))


def _find_gpu_quantization(folder: Path) -> str | None:
    """Return the suffix of the encoder to use on a GPU, or None to leave the choice to the engine."""
    available = cache.list_quantizations(folder, onnx_files.ENCODER_STEM)
    return next((one for one in GPU_QUANTIZATIONS if one in available), None)


def _build_mlx_spec(settings: EngineSettings, options: ParakeetOptions) -> ModelSpec:
    """Return Parakeet on MLX."""

    def find_weights() -> Path | None:
        return settings.parakeet_mlx_dir or cache.find_model_folder(
            settings.cache_folder, catalogue.list_model_names("mlx")
        )

    def check_weights() -> Path:
        from echoic.engines.parakeet import mlx_files as files  # noqa: PLC0415  # imported when the model is used

        files.check_mlx_libraries()
        if (folder := find_weights()) is None:
            raise files.build_mlx_error(MISSING_WEIGHTS_REASON)
        files.inspect_mlx_folder(folder)
        return folder

    def load_engine() -> Engine:
        from echoic.engines.parakeet.mlx import ParakeetMlx  # noqa: PLC0415  # imported when the model is loaded

        return ParakeetMlx(check_weights(), options)

    spec = ModelSpec(
        "parakeet-mlx", "parakeet", "mlx", _build_probe(check_weights), load_engine, word_timestamps=True
    )
    return replace(spec, find_weights=find_weights, languages=_build_language_reader(find_weights))


def _build_whisper_specs(settings: EngineSettings, max_concurrency: int) -> Iterator[ModelSpec]:
    """Yield Whisper: the default size, then each size by name."""
    names = catalogue.list_model_names("whisper")

    def find_default_weights() -> Path | None:
        if settings.whisper_model is not None:
            return whisper_files.resolve_whisper_folder(settings.whisper_model, settings.cache_folder)
        return whisper_files.find_whisper_folder(settings.cache_folder, names)

    yield _build_whisper_spec(whisper_files.WHISPER_MODEL_ID, find_default_weights, settings, max_concurrency)
    for name in names:
        yield replace(
            _build_whisper_spec(
                name, partial(_find_folder, settings.cache_folder / name), settings, max_concurrency
            ),
            listed=False,
        )


def _find_folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _build_whisper_spec(
    name: str, find_weights: Callable[[], Path | None], settings: EngineSettings, max_concurrency: int
) -> ModelSpec:
    def check_weights() -> Path:
        check_extra_installed("whisper")
        if (folder := find_weights()) is None:
            raise whisper_files.build_whisper_error(MISSING_WEIGHTS_REASON, name)
        return whisper_files.inspect_whisper_folder(folder, name)

    def load_engine() -> Engine:
        from echoic.engines.whisper import Whisper, WhisperOptions  # noqa: PLC0415  # imported when the model is loaded

        return Whisper(
            check_weights(), name, WhisperOptions(settings.device, settings.decode_cores, max_concurrency)
        )

    spec = ModelSpec(
        name, "whisper", "standard", _build_probe(check_weights), load_engine, word_timestamps=True
    )
    return replace(spec, find_weights=find_weights, languages=_build_language_reader(find_weights))


def _build_moonshine_spec(max_concurrency: int) -> ModelSpec:
    """Return Moonshine, the default model."""

    def probe_moonshine() -> Unavailable | None:
        if find_spec("onnxruntime") is None:
            return MISSING_RUNTIME
        try:
            from echoic.engines import moonshine  # noqa: PLC0415  # imported when the model is loaded
        except ImportError:
            return Unavailable("The package onnxruntime is installed but cannot be imported.")
        found = moonshine.inspect_weights()
        if found.is_available:
            return None
        return Unavailable(found.reason or "Its weights are missing.", found.install)

    def load_engine() -> Engine:
        from echoic.engines.moonshine import Moonshine  # noqa: PLC0415  # imported when the model is loaded

        return Moonshine(max_concurrency=max_concurrency)

    return ModelSpec(
        DEFAULT_MODEL,
        "moonshine",
        "standard",
        probe_moonshine,
        load_engine,
        languages=lambda: catalogue.ENGLISH_ONLY,
    )


def _load_scripted() -> Engine:
    from echoic.engines.scripted import ScriptedEngine  # noqa: PLC0415  # imported when the model is loaded

    return ScriptedEngine()

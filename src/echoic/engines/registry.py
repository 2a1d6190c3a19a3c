"""Maps model names to models, checks their availability and chooses fallbacks; ``models`` registers them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from echoic.engines.whisper_files import WHISPER_ALIASES
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import Engine, ModelRequest

#: The fallback of all models; comes with the install.
DEFAULT_MODEL = "moonshine-tiny-en"
#: The command that installs NeMo.
NEMO_INSTALL_COMMAND = "pip install 'echoic[nemo]'"

#: Names that clients may use, with the model and the variant that each means.
MODEL_ALIASES: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "parakeet": ("parakeet", None),
        "parakeet-standard": ("parakeet", "standard"),
        "parakeet-onnx": ("parakeet", "onnx"),
        "parakeet-mlx": ("parakeet", "mlx"),
        "parakeet-tdt-0.6b-v3-onnx": ("parakeet", "onnx"),
        "whisper": ("whisper", None),
        "whisper-1": ("whisper", None),
        **{alias: (size, None) for alias, size in WHISPER_ALIASES.items()},
        "moonshine": (DEFAULT_MODEL, None),
        "moonshine-tiny-en": (DEFAULT_MODEL, None),
        "scripted": ("scripted", None),
    }
)


def resolve_model_id(model: str, variant: str | None = None) -> str:
    """Return the id of the model that a client's ``model`` and ``variant`` mean.

    An explicit variant overrides the name's suffix; without either it is ``standard``. Only Parakeet has
    variants; other models ignore them. An unknown name is returned unchanged.

    Args:
        model: As the client wrote it; case is ignored.
        variant: The requested variant, or None.
    """
    name = model.strip().lower()
    family, suffix = MODEL_ALIASES.get(name, (name, None))
    return f"{family}-{variant or suffix or 'standard'}" if family == "parakeet" else family


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model's row of the status endpoint."""

    id: str
    """Unique among the models."""
    model: str
    """The model's name, shared by its variants."""
    variant: str
    """``standard`` for a model without variants."""
    available: bool
    """Whether its library and its weights are installed."""
    reason: str | None
    """What is missing, or None. May name folders, which clients must not see."""
    install: str | None
    """The command that installs it, or None."""
    word_timestamps: bool = False
    """Whether its tokens have times."""
    languages: tuple[str, ...] = ()
    """Lower-case, without region. Empty means many, or unknown."""


def _find_no_weights() -> None:
    return None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Describes a model that a server can offer."""

    id: str
    """As ``resolve_model_id`` returns it."""
    model: str
    """The model's name, shared by its variants."""
    variant: str
    """``standard`` for a model without variants."""
    probe: Callable[[], Unavailable | None]
    """Returns what is missing, or None; does not import the model's library."""
    load: Callable[[], Engine]
    """Returns the loaded engine; blocks, and may raise."""
    word_timestamps: bool = False
    """``requirements.has_word_times`` of the engine, known without loading it."""
    find_weights: Callable[[], Path | None] = _find_no_weights
    """Returns the location of its weights, or None; reads file names only."""
    languages: Callable[[], tuple[str, ...]] = tuple
    """Returns its languages, as far as they are known without loading it."""
    listed: bool = True
    """Whether it is listed even if it is unavailable."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The model to use for a request."""

    model_id: str
    fallback_reason: str | None = None
    """Why it is not the requested model, in sentences for the client, or None."""


class Registry:
    """The models that a server knows.

    Args:
        specs: One for each model.
        default: The id of the last fallback.
        preferred: The ids of fallbacks that are tried before it, the best first.
    """

    def __init__(
        self, specs: Iterable[ModelSpec], default: str = DEFAULT_MODEL, preferred: Sequence[str] = ()
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._fallbacks = (*preferred, default)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that a client may use; unavailable models only if they are ``listed``."""
        listed = [spec.id for spec in self._specs.values() if spec.listed or not spec.probe()]
        aliases = [name for name in MODEL_ALIASES if resolve_model_id(name) in listed]
        return (*aliases, *(name for name in listed if name not in MODEL_ALIASES))

    def cache_loads(self) -> Registry:
        """Return a registry of the same models that loads each once and then returns the same engine."""
        specs = [replace(spec, load=functools.cache(spec.load)) for spec in self._specs.values()]
        return Registry(specs, self._fallbacks[-1], self._fallbacks[:-1])

    def describe_models(self) -> list[ModelStatus]:
        """Probe the models and return a row for each that is listed."""
        rows = [(spec, _build_status(spec)) for spec in self._specs.values()]
        return [row for spec, row in rows if spec.listed or row.available]

    def find_weights(self, name: str) -> Path | None:
        """Return the location of a model's weights, or None if they are missing or come with the install.

        Raises:
            KeyError: There is no model with this id.
        """
        return self._specs[name].find_weights()

    def list_languages(self, name: str) -> tuple[str, ...]:
        """Return a model's languages, as far as they are known without loading it.

        Raises:
            KeyError: There is no model with this id.
        """
        return self._specs[name].languages()

    def resolve_model(self, request: ModelRequest, *, fallback: bool) -> ResolvedModel:
        """Return the requested model, or its first available fallback.

        Raises:
            ModelUnavailable: The name is unknown, or the model is unavailable and so are its fallbacks.
        """
        spec = self._specs.get(resolve_model_id(request.model, request.variant))
        if spec is None:
            known = ", ".join(self.names)
            raise ModelUnavailable(request.model, f"There is no such model. Available names: {known}.")
        if missing := spec.probe():
            missing = self._suggest_easier_install(request, missing)
            refusal = ModelUnavailable(request.model, missing.reason, missing.install)
            return self.resolve_fallback(spec.id, refusal, fallback=fallback)
        return ResolvedModel(spec.id)

    def _suggest_easier_install(self, request: ModelRequest, missing: Unavailable) -> Unavailable:
        """Suggest Parakeet on onnxruntime if any Parakeet was requested and NeMo is not installed."""
        other = self._specs.get("parakeet-onnx")
        wants_any = MODEL_ALIASES.get(request.model.strip().lower()) == ("parakeet", None)
        if (
            other is None
            or not wants_any
            or missing.install != NEMO_INSTALL_COMMAND
            or (more := other.probe()) is None
        ):
            return missing
        return Unavailable(
            f"{missing.reason} On most machines {other.id} is the better choice. {more.reason}", more.install
        )

    def resolve_fallback(
        self, name: str, cause: ModelUnavailable, *, fallback: bool, tried: Collection[str] = ()
    ) -> ResolvedModel:
        """Return the first available fallback of a model that is unavailable.

        Args:
            name: The id of the unavailable model.
            cause: Why it is unavailable.
            fallback: Whether a fallback may be used.
            tried: Fallbacks that could not be loaded.

        Raises:
            ModelUnavailable: ``cause``, if no fallback may be used or is available.
        """
        for other in self._fallbacks if fallback else ():
            spec = self._specs.get(other)
            if spec is not None and spec.id not in (name, *tried) and not spec.probe():
                return ResolvedModel(spec.id, f"{cause.message} The model {spec.id!r} is used instead.")
        raise cause

    def load_engine(self, name: str) -> Engine:
        """Load a model's engine; blocks, perhaps for many seconds.

        Raises:
            ModelUnavailable: A library or a file is missing.
            KeyError: There is no model with this id.
            Exception: An error of the model's library.
        """
        spec = self._specs[name]
        if missing := spec.probe():
            raise ModelUnavailable(name, missing.reason, missing.install)
        return spec.load()


def _build_status(spec: ModelSpec) -> ModelStatus:
    missing = spec.probe()
    return ModelStatus(
        spec.id,
        spec.model,
        spec.variant,
        available=missing is None,
        reason=missing.reason if missing else None,
        install=missing.install if missing else None,
        word_timestamps=spec.word_timestamps,
        languages=spec.languages(),
    )

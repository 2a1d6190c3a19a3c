"""The table of models: what they are called, and which of them answers a request; ``seats`` fills it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from echoic.engines.whisper_files import WHISPER_ALIASES
from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.engine import Engine, ModelRequest

#: The model that answers when another cannot, and comes with the install.
DEFAULT_MODEL = "moonshine-tiny-en"
#: The command that brings NeMo.
NEMO_INSTALL_COMMAND = "pip install 'echoic[nemo]'"

#: Names a client may use: the model, and the variant that the name itself implies.
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
    """Return the id of the seat that a client's ``model`` and ``variant`` mean.

    An explicit variant beats the name's suffix; without either it is ``standard``. Only Parakeet has
    variants, other models take no notice of one. A name nobody knows is returned as it is.

    Args:
        model: As the client wrote it; case does not matter.
        variant: Explicitly asked for, or None.
    """
    name = model.strip().lower()
    family, suffix = MODEL_ALIASES.get(name, (name, None))
    return f"{family}-{variant or suffix or 'standard'}" if family == "parakeet" else family


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One row of the status endpoint.

    Attributes:
        id: The name that no other model has.
        model: The model.
        variant: Its variant; ``standard`` where there is but one.
        available: True if its library is there and its weights are.
        reason: What is missing, or None; may name folders, which are nothing for clients.
        install: The command that brings it, or None.
        word_timestamps: True if it gives times of words.
        languages: The languages it knows, lower-case and without region; empty: many, or nobody says.
    """

    id: str
    model: str
    variant: str
    available: bool
    reason: str | None
    install: str | None
    word_timestamps: bool = False
    languages: tuple[str, ...] = ()


def _find_no_weights() -> None:
    return None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's place in the table.

    Attributes:
        id: What ``resolve_model_id`` returns for it.
        model: The model.
        variant: Its variant; ``standard`` where there is but one.
        probe: Says what is missing, without importing the model's library; None: nothing.
        load: Returns the loaded engine; may take long.
        word_timestamps: Whether that engine's ``needs.times`` is true, known without loading it.
        find_weights: Where its weights are, or None; reads no more than names of files.
        languages: What it knows, as far as can be said without loading it.
        listed: Whether it is listed even where it cannot be had.
    """

    id: str
    model: str
    variant: str
    probe: Callable[[], Unavailable | None]
    load: Callable[[], Engine]
    word_timestamps: bool = False
    find_weights: Callable[[], Path | None] = _find_no_weights
    languages: Callable[[], tuple[str, ...]] = tuple
    listed: bool = True


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The model that answers a request.

    Attributes:
        model_id: Its id.
        fallback_reason: Why it is not the one asked for (sentences for the client), or None.
    """

    model_id: str
    fallback_reason: str | None = None


class Registry:
    """The models this server knows.

    Args:
        specs: One for each model.
        default: The id of the model that stands in for others.
        preferred: The ids of those that do so before it where they can be had, the best first.
    """

    def __init__(
        self, specs: Iterable[ModelSpec], default: str = DEFAULT_MODEL, preferred: Sequence[str] = ()
    ) -> None:
        self._specs = {seat.id: seat for seat in specs}
        self._fallbacks = (*preferred, default)

    @property
    def names(self) -> tuple[str, ...]:
        """The names a client may ask for, available or not but for those that are not listed then."""
        listed = [seat.id for seat in self._specs.values() if seat.listed or not seat.probe()]
        aliases = [name for name in MODEL_ALIASES if resolve_model_id(name) in listed]
        return (*aliases, *(name for name in listed if name not in MODEL_ALIASES))

    def cache_loads(self) -> Registry:
        """Return the same models, each loaded once: who asks again gets the one that others have, too."""
        seats = [replace(seat, load=functools.cache(seat.load)) for seat in self._specs.values()]
        return Registry(seats, self._fallbacks[-1], self._fallbacks[:-1])

    def describe_models(self) -> list[ModelStatus]:
        """Return a row for each model that is to be listed, probed now."""
        rows = [(seat, _build_status(seat)) for seat in self._specs.values()]
        return [row for seat, row in rows if seat.listed or row.available]

    def find_weights(self, name: str) -> Path | None:
        """Return where the weights of the seat ``model_id`` are, or None if nowhere or if they need no place.

        Raises:
            KeyError: There is no such seat.
        """
        return self._specs[name].find_weights()

    def list_languages(self, name: str) -> tuple[str, ...]:
        """Return what the model of the seat ``model_id`` knows, as far as can be said without loading it.

        Raises:
            KeyError: There is no such seat.
        """
        return self._specs[name].languages()

    def resolve_model(self, request: ModelRequest, *, fallback: bool) -> ResolvedModel:
        """Return the model asked for, or with ``fallback_reason`` the first that can stand in for it.

        Raises:
            ModelUnavailable: Nobody knows the name (whatever ``fallback_reason`` says), or the model cannot be
                had and no other may or can stand in.
        """
        seat = self._specs.get(resolve_model_id(request.model, request.variant))
        if seat is None:
            known = ", ".join(self.names)
            raise ModelUnavailable(request.model, f"There is no such model. The names known here: {known}.")
        if missing := seat.probe():
            missing = self._suggest_easier_install(request, missing)
            refusal = ModelUnavailable(request.model, missing.reason, missing.install)
            return self.resolve_fallback(seat.id, refusal, fallback=fallback)
        return ResolvedModel(seat.id)

    def _suggest_easier_install(self, request: ModelRequest, missing: Unavailable) -> Unavailable:
        """Return what is least work to bring where any Parakeet would do and NeMo is not installed."""
        other = self._specs.get("parakeet-onnx")
        wants_any = MODEL_ALIASES.get(request.model.strip().lower()) == ("parakeet", None)
        if (
            other is None
            or not wants_any
            or missing.install != NEMO_INSTALL_COMMAND
            or (more := other.probe()) is None
        ):
            return missing
        return Unavailable(f"{missing.reason} Most machines want {other.id}. {more.reason}", more.install)

    def resolve_fallback(
        self, name: str, cause: ModelUnavailable, *, fallback: bool, tried: Collection[str] = ()
    ) -> ResolvedModel:
        """Return the first model that can be had in the stead of ``model_id``, which cannot.

        Args:
            name: The model that cannot be had.
            cause: Why.
            fallback: Whether another may answer at all.
            tried: Other models that could not be loaded either.

        Raises:
            ModelUnavailable: ``cause``, if there may be no fallback, or none can be had either.
        """
        for other in self._fallbacks if fallback else ():
            seat = self._specs.get(other)
            if seat is not None and seat.id not in (name, *tried) and not seat.probe():
                return ResolvedModel(seat.id, f"{cause.message} The model {seat.id!r} answers instead.")
        raise cause

    def load_engine(self, name: str) -> Engine:
        """Return the loaded engine of the seat ``model_id``; blocks, perhaps for many seconds.

        Raises:
            ModelUnavailable: Something is missing.
            KeyError: There is no such seat.
            Exception: Whatever the model's library raises.
        """
        seat = self._specs[name]
        if missing := seat.probe():
            raise ModelUnavailable(name, missing.reason, missing.install)
        return seat.load()


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

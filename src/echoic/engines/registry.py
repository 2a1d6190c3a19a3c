"""The table of models: what they are called, and which of them answers a request; ``seats`` fills it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from echoic.engines.whisper_files import ALIASES
from echoic.errors import Missing, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from echoic.engines.base import Engine
    from echoic.session.effects import ModelRequest

#: The model that answers when another cannot, and comes with the install.
DEFAULT = "moonshine-tiny-en"
#: The command that brings NeMo.
NEMO = "pip install 'echoic[nemo]'"

#: Names a client may use: the model, and the variant that the name itself implies.
NAMES: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "parakeet": ("parakeet", None),
        "parakeet-standard": ("parakeet", "standard"),
        "parakeet-onnx": ("parakeet", "onnx"),
        "parakeet-mlx": ("parakeet", "mlx"),
        "parakeet-tdt-0.6b-v3-onnx": ("parakeet", "onnx"),
        "whisper": ("whisper", None),
        "whisper-1": ("whisper", None),
        **{alias: (size, None) for alias, size in ALIASES.items()},
        "moonshine": (DEFAULT, None),
        "moonshine-tiny-en": (DEFAULT, None),
        "scripted": ("scripted", None),
    }
)


def resolve_name(model: str, variant: str | None = None) -> str:
    """Return the id of the seat that a client's ``model`` and ``variant`` mean.

    An explicit variant beats the name's suffix; without either it is ``standard``. Only Parakeet has
    variants, other models take no notice of one. A name nobody knows is returned as it is.

    Args:
        model: As the client wrote it; case does not matter.
        variant: Explicitly asked for, or None.
    """
    name = model.strip().lower()
    family, suffix = NAMES.get(name, (name, None))
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


def _nowhere() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Seat:
    """A model's place in the table.

    Attributes:
        id: What ``resolve_name`` returns for it.
        model: The model.
        variant: Its variant; ``standard`` where there is but one.
        probe: Says what is missing, without importing the model's library; None: nothing.
        load: Returns the loaded engine; may take long.
        word_timestamps: Whether that engine's ``needs.times`` is true, known without loading it.
        place: Where its weights are, or None; reads no more than names of files.
        languages: What it knows, as far as can be said without loading it.
        listed: Whether it is listed even where it cannot be had.
    """

    id: str
    model: str
    variant: str
    probe: Callable[[], Missing | None]
    load: Callable[[], Engine]
    word_timestamps: bool = False
    place: Callable[[], Path | None] = _nowhere
    languages: Callable[[], tuple[str, ...]] = tuple
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers a request.

    Attributes:
        name: Its id.
        fallback: Why it is not the one asked for (sentences for the client), or None.
    """

    name: str
    fallback: str | None = None


class Registry:
    """The models this server knows.

    Args:
        seats: One for each model.
        default: The id of the model that stands in for others.
        preferred: The ids of those that do so before it where they can be had, the best first.
    """

    def __init__(self, seats: Iterable[Seat], default: str = DEFAULT, preferred: Sequence[str] = ()) -> None:
        self._seats = {seat.id: seat for seat in seats}
        self._stand_ins = (*preferred, default)

    @property
    def names(self) -> tuple[str, ...]:
        """The names a client may ask for, available or not but for those that are not listed then."""
        listed = [seat.id for seat in self._seats.values() if seat.listed or not seat.probe()]
        aliases = [name for name in NAMES if resolve_name(name) in listed]
        return (*aliases, *(name for name in listed if name not in NAMES))

    def once(self) -> Registry:
        """Return the same models, each loaded once: who asks again gets the one that others have, too."""
        seats = [replace(seat, load=functools.cache(seat.load)) for seat in self._seats.values()]
        return Registry(seats, self._stand_ins[-1], self._stand_ins[:-1])

    def describe(self) -> list[ModelStatus]:
        """Return a row for each model that is to be listed, probed now."""
        rows = [(seat, _status(seat)) for seat in self._seats.values()]
        return [row for seat, row in rows if seat.listed or row.available]

    def place(self, name: str) -> Path | None:
        """Return where the weights of the seat ``name`` are, or None if nowhere or if they need no place.

        Raises:
            KeyError: There is no such seat.
        """
        return self._seats[name].place()

    def languages(self, name: str) -> tuple[str, ...]:
        """Return what the model of the seat ``name`` knows, as far as can be said without loading it.

        Raises:
            KeyError: There is no such seat.
        """
        return self._seats[name].languages()

    def resolve(self, request: ModelRequest, *, fallback: bool) -> Choice:
        """Return the model asked for, or with ``fallback`` the first that can stand in for it.

        Raises:
            ModelUnavailable: Nobody knows the name (whatever ``fallback`` says), or the model cannot be
                had and no other may or can stand in.
        """
        seat = self._seats.get(resolve_name(request.model, request.variant))
        if seat is None:
            known = ", ".join(self.names)
            raise ModelUnavailable(request.model, f"There is no such model. The names known here: {known}.")
        if missing := seat.probe():
            missing = self._easier(request, missing)
            refusal = ModelUnavailable(request.model, missing.reason, missing.install)
            return self.stand_in(seat.id, refusal, fallback=fallback)
        return Choice(seat.id)

    def _easier(self, request: ModelRequest, missing: Missing) -> Missing:
        """Return what is least work to bring where any Parakeet would do and NeMo is not installed."""
        other = self._seats.get("parakeet-onnx")
        wants_any = NAMES.get(request.model.strip().lower()) == ("parakeet", None)
        if other is None or not wants_any or missing.install != NEMO or (more := other.probe()) is None:
            return missing
        return Missing(f"{missing.reason} Most machines want {other.id}. {more.reason}", more.install)

    def stand_in(
        self, name: str, refusal: ModelUnavailable, *, fallback: bool, tried: Collection[str] = ()
    ) -> Choice:
        """Return the first model that can be had in the stead of ``name``, which cannot.

        Args:
            name: The model that cannot be had.
            refusal: Why.
            fallback: Whether another may answer at all.
            tried: Other models that could not be loaded either.

        Raises:
            ModelUnavailable: ``refusal``, if there may be no fallback, or none can be had either.
        """
        for other in self._stand_ins if fallback else ():
            seat = self._seats.get(other)
            if seat is not None and seat.id not in (name, *tried) and not seat.probe():
                return Choice(seat.id, f"{refusal.message} The model {seat.id!r} answers instead.")
        raise refusal

    def load(self, name: str) -> Engine:
        """Return the loaded engine of the seat ``name``; blocks, perhaps for many seconds.

        Raises:
            ModelUnavailable: Something is missing.
            KeyError: There is no such seat.
            Exception: Whatever the model's library raises.
        """
        seat = self._seats[name]
        if missing := seat.probe():
            raise ModelUnavailable(name, missing.reason, missing.install)
        return seat.load()


def _status(seat: Seat) -> ModelStatus:
    missing = seat.probe()
    return ModelStatus(
        seat.id,
        seat.model,
        seat.variant,
        available=missing is None,
        reason=missing.reason if missing else None,
        install=missing.install if missing else None,
        word_timestamps=seat.word_timestamps,
        languages=seat.languages(),
    )

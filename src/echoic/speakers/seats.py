"""The diarizers of this version: what each needs, and how it is loaded.

As with engines, a probe looks for libraries by their specification and for files on the disk, and imports no
model library; the module of a diarizer is imported when the diarizer is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from echoic.errors import Missing, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echoic.speakers.base import Diarizer

#: The diarizers that come with the package: the second hears no turns within a window, for half the cost.
DEFAULT = "embedded"
LIGHT = "embedded-light"
#: The files of its models of voices and of turns, in the package.
PACKAGED = Path(__file__).parent / "campplus.onnx"
TURNS = Path(__file__).parent / "segmentation.onnx"
NO_RUNTIME = Missing("The package onnxruntime is not installed.", "pip install onnxruntime")
REINSTALL = "pip install --force-reinstall --no-deps echoic"


@dataclass(frozen=True, slots=True)
class Heavy:
    """What a diarizer needs that does not come with the package: a command, and where its weights are."""

    install: str
    weights: str


PYANNOTE = Heavy(
    "pip install 'echoic[pyannote]'", "pyannote/wespeaker-voxceleb-resnet34-LM is on the hub (CC-BY-4.0)."
)
SORTFORMER = Heavy(
    "pip install 'echoic[nemo]'",
    "nvidia/diar_streaming_sortformer_4spk-v2 is on the hub (its own licence).",
)


@dataclass(frozen=True, slots=True)
class DiarizerSeat:
    """A diarizer's place in the table.

    Attributes:
        name: What settings call it.
        probe: Says what is missing; None: nothing. ``model``: its weights, where they do not come along.
        load: Returns it, with its weights; may take long.
        listed: Whether people are told of it.
    """

    name: str
    probe: Callable[[Path | None], Missing | None]
    load: Callable[[Path | None], Diarizer]
    listed: bool = True


def probe(name: str = DEFAULT, model: Path | None = None) -> Missing | None:
    """Return what a diarizer lacks here, or None: nothing; imports no model library.

    Args:
        name: Its name.
        model: Its weights, where they do not come with the package.

    Raises:
        ModelUnavailable: Nobody knows the name.
    """
    return _seat(name).probe(model)


def load(name: str = DEFAULT, model: Path | None = None) -> Diarizer:
    """Return a diarizer with its weights; may take long.

    Args:
        name: Its name.
        model: Its weights, where they do not come with the package.

    Raises:
        ModelUnavailable: Nobody knows the name, or something is missing: what, and what brings it.
    """
    seat = _seat(name)
    if missing := seat.probe(model):
        raise ModelUnavailable(name, missing.reason, missing.install)
    return seat.load(model)


def _seat(name: str) -> DiarizerSeat:
    if name not in SEATS:
        raise ModelUnavailable(name, f"There is no diarizer of this name; there are {', '.join(SEATS)}.")
    return SEATS[name]


def _probe_embedded(_: Path | None) -> Missing | None:
    if find_spec("onnxruntime") is None:
        return NO_RUNTIME
    absent = next((file for file in (PACKAGED, TURNS) if not file.is_file()), None)
    return Missing(f"The file {absent.name} is missing.", REINSTALL) if absent else None


def _load_embedded(_: Path | None) -> Diarizer:
    from echoic.speakers.embed import CamPlusPlus  # noqa: PLC0415  # a seat imports when asked
    from echoic.speakers.online import OnlineDiarizer  # noqa: PLC0415  # the same
    from echoic.speakers.segment import PyanNet  # noqa: PLC0415  # the same

    return OnlineDiarizer(CamPlusPlus(PACKAGED), PyanNet(TURNS))


def _load_light(_: Path | None) -> Diarizer:
    from echoic.speakers.embed import CamPlusPlus  # noqa: PLC0415  # a seat imports when asked
    from echoic.speakers.online import OnlineDiarizer  # noqa: PLC0415  # the same

    return OnlineDiarizer(CamPlusPlus(PACKAGED), name=LIGHT)


def _probe_pyannote(model: Path | None) -> Missing | None:
    return _lacks(("torch", "pyannote.audio"), PYANNOTE, model)


def _load_pyannote(model: Path | None) -> Diarizer:
    from echoic.speakers.online import OnlineDiarizer  # noqa: PLC0415  # the same
    from echoic.speakers.pyannote import NAME, RULES, PyannoteEmbedder  # noqa: PLC0415  # the same
    from echoic.speakers.segment import PyanNet  # noqa: PLC0415  # the same

    return OnlineDiarizer(PyannoteEmbedder(_there(model)), PyanNet(TURNS), RULES, NAME)


def _probe_sortformer(model: Path | None) -> Missing | None:
    return _lacks(("torch", "nemo", "lightning"), SORTFORMER, model)


def _load_sortformer(model: Path | None) -> Diarizer:
    from echoic.speakers.sortformer import SortformerDiarizer  # noqa: PLC0415  # the same

    return SortformerDiarizer(_there(model))


def _lacks(modules: tuple[str, ...], heavy: Heavy, model: Path | None) -> Missing | None:
    absent = next((module for module in modules if not _installed(module)), None)
    if absent:
        return Missing(f"The module {absent} is not installed.", heavy.install)
    if model is None:
        return Missing(f"No file is named for it; {heavy.weights}")
    return None if model.exists() else Missing(f"There is no {model}; {heavy.weights}")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _there(model: Path | None) -> Path:
    if model is None:
        raise ModelUnavailable("speakers", "No file is named for it.")
    return model


def _load_scripted(_: Path | None) -> Diarizer:
    from echoic.speakers.scripted import ScriptedDiarizer  # noqa: PLC0415  # the same

    return ScriptedDiarizer()


SEATS: Mapping[str, DiarizerSeat] = MappingProxyType(
    {
        seat.name: seat
        for seat in (
            DiarizerSeat(DEFAULT, _probe_embedded, _load_embedded),
            DiarizerSeat(LIGHT, _probe_embedded, _load_light),
            DiarizerSeat("pyannote", _probe_pyannote, _load_pyannote),
            DiarizerSeat("sortformer", _probe_sortformer, _load_sortformer),
            DiarizerSeat("scripted", lambda _: None, _load_scripted, listed=False),
        )
    }
)

"""The diarizers of this version: what each needs, and how it is loaded.

As with engines, a probe looks for libraries by their specification and for files on the disk, and imports no
model library; the module of a diarizer is imported when the diarizer is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.diarizer import Diarizer

#: The diarizers that come with the package: the second hears no turns within a window, for half the cost.
DEFAULT_DIARIZER = "embedded"
LIGHT_DIARIZER = "embedded-light"
#: The files of its models of voices and of turns, in the package.
EMBEDDING_FILE = Path(__file__).parent / "campplus.onnx"
SEGMENTATION_FILE = Path(__file__).parent / "segmentation.onnx"
ONNXRUNTIME_MISSING = Unavailable("The package onnxruntime is not installed.", "pip install onnxruntime")
REINSTALL_COMMAND = "pip install --force-reinstall --no-deps echoic"


@dataclass(frozen=True, slots=True)
class ExternalWeights:
    """What a diarizer needs that does not come with the package: a command, and where its weights are."""

    install_command: str
    weights_hint: str


PYANNOTE_WEIGHTS = ExternalWeights(
    "pip install 'echoic[pyannote]'", "pyannote/wespeaker-voxceleb-resnet34-LM is on the hub (CC-BY-4.0)."
)
SORTFORMER_WEIGHTS = ExternalWeights(
    "pip install 'echoic[nemo]'",
    "nvidia/diar_streaming_sortformer_4spk-v2 is on the hub (its own licence).",
)


@dataclass(frozen=True, slots=True)
class DiarizerSpec:
    """A diarizer's place in the table.

    Attributes:
        name: What settings call it.
        find_missing: Says what is missing; None: nothing. ``model``: its weights, where they do not come along.
        load_diarizer: Returns it, with its weights; may take long.
        is_listed: Whether people are told of it.
    """

    name: str
    find_missing: Callable[[Path | None], Unavailable | None]
    load_diarizer: Callable[[Path | None], Diarizer]
    is_listed: bool = True


def probe_diarizer(name: str = DEFAULT_DIARIZER, model: Path | None = None) -> Unavailable | None:
    """Return what a diarizer lacks here, or None: nothing; imports no model library.

    Args:
        name: Its name.
        model: Its weights, where they do not come with the package.

    Raises:
        ModelUnavailable: Nobody knows the name.
    """
    return _get_spec(name).find_missing(model)


def load_diarizer(name: str = DEFAULT_DIARIZER, model: Path | None = None) -> Diarizer:
    """Return a diarizer with its weights; may take long.

    Args:
        name: Its name.
        model: Its weights, where they do not come with the package.

    Raises:
        ModelUnavailable: Nobody knows the name, or something is missing: what, and what brings it.
    """
    seat = _get_spec(name)
    if missing := seat.find_missing(model):
        raise ModelUnavailable(name, missing.reason, missing.install)
    return seat.load_diarizer(model)


def _get_spec(name: str) -> DiarizerSpec:
    if name not in DIARIZER_SPECS:
        raise ModelUnavailable(
            name, f"There is no diarizer of this name; there are {', '.join(DIARIZER_SPECS)}."
        )
    return DIARIZER_SPECS[name]


def _probe_embedded(_: Path | None) -> Unavailable | None:
    if find_spec("onnxruntime") is None:
        return ONNXRUNTIME_MISSING
    absent = next((file for file in (EMBEDDING_FILE, SEGMENTATION_FILE) if not file.is_file()), None)
    return Unavailable(f"The file {absent.name} is missing.", REINSTALL_COMMAND) if absent else None


def _load_embedded(_: Path | None) -> Diarizer:
    from echoic.diarization.embedding import CamPlusPlus  # noqa: PLC0415  # a seat imports when asked
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # the same
    from echoic.diarization.segmentation import PyanNet  # noqa: PLC0415  # the same

    return OnlineDiarizer(CamPlusPlus(EMBEDDING_FILE), PyanNet(SEGMENTATION_FILE))


def _load_light(_: Path | None) -> Diarizer:
    from echoic.diarization.embedding import CamPlusPlus  # noqa: PLC0415  # a seat imports when asked
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # the same

    return OnlineDiarizer(CamPlusPlus(EMBEDDING_FILE), name=LIGHT_DIARIZER)


def _probe_pyannote(model: Path | None) -> Unavailable | None:
    return _find_missing_parts(("torch", "pyannote.audio"), PYANNOTE_WEIGHTS, model)


def _load_pyannote(model: Path | None) -> Diarizer:
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # the same
    from echoic.diarization.pyannote import CONFIG, NAME, PyannoteEmbedder  # noqa: PLC0415  # the same
    from echoic.diarization.segmentation import PyanNet  # noqa: PLC0415  # the same

    return OnlineDiarizer(PyannoteEmbedder(_require_model(model)), PyanNet(SEGMENTATION_FILE), CONFIG, NAME)


def _probe_sortformer(model: Path | None) -> Unavailable | None:
    return _find_missing_parts(("torch", "nemo", "lightning"), SORTFORMER_WEIGHTS, model)


def _load_sortformer(model: Path | None) -> Diarizer:
    from echoic.diarization.sortformer import SortformerDiarizer  # noqa: PLC0415  # the same

    return SortformerDiarizer(_require_model(model))


def _find_missing_parts(
    modules: tuple[str, ...], external: ExternalWeights, model: Path | None
) -> Unavailable | None:
    absent = next((module for module in modules if not _is_installed(module)), None)
    if absent:
        return Unavailable(f"The module {absent} is not installed.", external.install_command)
    if model is None:
        return Unavailable(f"No file is named for it; {external.weights_hint}")
    return None if model.exists() else Unavailable(f"There is no {model}; {external.weights_hint}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _require_model(model: Path | None) -> Path:
    if model is None:
        raise ModelUnavailable("speakers", "No file is named for it.")
    return model


def _load_scripted(_: Path | None) -> Diarizer:
    from echoic.diarization.scripted import ScriptedDiarizer  # noqa: PLC0415  # the same

    return ScriptedDiarizer()


DIARIZER_SPECS: Mapping[str, DiarizerSpec] = MappingProxyType(
    {
        seat.name: seat
        for seat in (
            DiarizerSpec(DEFAULT_DIARIZER, _probe_embedded, _load_embedded),
            DiarizerSpec(LIGHT_DIARIZER, _probe_embedded, _load_light),
            DiarizerSpec("pyannote", _probe_pyannote, _load_pyannote),
            DiarizerSpec("sortformer", _probe_sortformer, _load_sortformer),
            DiarizerSpec("scripted", lambda _: None, _load_scripted, is_listed=False),
        )
    }
)

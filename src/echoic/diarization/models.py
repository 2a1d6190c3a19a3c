"""The table of diarizers: probes what each needs and loads it.

As with engines, a probe looks for installed packages and files and imports no model library. The module of a
diarizer is imported when the diarizer is loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from echoic.errors import ModelUnavailable, Unavailable
from echoic.interfaces.diarizer import Diarizer

#: The diarizers in the package. The light one has no segmentation model and costs half as much.
DEFAULT_DIARIZER = "embedded"
LIGHT_DIARIZER = "embedded-light"
#: Their embedding and segmentation models.
EMBEDDING_FILE = Path(__file__).parent / "campplus.onnx"
SEGMENTATION_FILE = Path(__file__).parent / "segmentation.onnx"
ONNXRUNTIME_MISSING = Unavailable("The package onnxruntime is not installed.", "pip install onnxruntime")
REINSTALL_COMMAND = "pip install --force-reinstall --no-deps echoic"


@dataclass(frozen=True, slots=True)
class ExternalWeights:
    """How to install the packages of an optional diarizer, and where to find its weights."""

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
    """A row of the table of diarizers.

    The functions take the path of the weights, which is None for diarizers whose weights are in the package.
    """

    #: Its name in the settings.
    name: str
    #: Returns what is missing, or None if the diarizer can be loaded.
    find_missing: Callable[[Path | None], Unavailable | None]
    #: Loads the diarizer with its weights; may take long.
    load_diarizer: Callable[[Path | None], Diarizer]
    #: Whether lists of diarizers for users show it.
    is_listed: bool = True


def probe_diarizer(name: str = DEFAULT_DIARIZER, model: Path | None = None) -> Unavailable | None:
    """Return what a diarizer is missing here, or None if it can be loaded; imports no model library.

    Args:
        name: Name of the diarizer.
        model: Path of its weights if they are not in the package.

    Raises:
        ModelUnavailable: There is no diarizer of that name.
    """
    return _get_spec(name).find_missing(model)


def load_diarizer(name: str = DEFAULT_DIARIZER, model: Path | None = None) -> Diarizer:
    """Load a diarizer with its weights; may take long.

    Args:
        name: Name of the diarizer.
        model: Path of its weights if they are not in the package.

    Raises:
        ModelUnavailable: There is no diarizer of that name, or something is missing; the message says what to
            install.
    """
    spec = _get_spec(name)
    if missing := spec.find_missing(model):
        raise ModelUnavailable(name, missing.reason, missing.install)
    return spec.load_diarizer(model)


def _get_spec(name: str) -> DiarizerSpec:
    if name not in DIARIZER_SPECS:
        raise ModelUnavailable(
            name, f"There is no diarizer of this name. Available: {', '.join(DIARIZER_SPECS)}."
        )
    return DIARIZER_SPECS[name]


def _probe_embedded(_: Path | None) -> Unavailable | None:
    if find_spec("onnxruntime") is None:
        return ONNXRUNTIME_MISSING
    absent = next((file for file in (EMBEDDING_FILE, SEGMENTATION_FILE) if not file.is_file()), None)
    return Unavailable(f"The file {absent.name} is missing.", REINSTALL_COMMAND) if absent else None


def _load_embedded(_: Path | None) -> Diarizer:
    from echoic.diarization.embedding import CamPlusPlus  # noqa: PLC0415  # imported on loading
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # imported on loading
    from echoic.diarization.segmentation import PyanNet  # noqa: PLC0415  # imported on loading

    return OnlineDiarizer(CamPlusPlus(EMBEDDING_FILE), PyanNet(SEGMENTATION_FILE))


def _load_light(_: Path | None) -> Diarizer:
    from echoic.diarization.embedding import CamPlusPlus  # noqa: PLC0415  # imported on loading
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # imported on loading

    return OnlineDiarizer(CamPlusPlus(EMBEDDING_FILE), name=LIGHT_DIARIZER)


def _probe_pyannote(model: Path | None) -> Unavailable | None:
    return _find_missing_parts(("torch", "pyannote.audio"), PYANNOTE_WEIGHTS, model)


def _load_pyannote(model: Path | None) -> Diarizer:
    from echoic.diarization.online import OnlineDiarizer  # noqa: PLC0415  # imported on loading
    from echoic.diarization.pyannote import CONFIG, NAME, PyannoteEmbedder  # noqa: PLC0415  # imported on loading
    from echoic.diarization.segmentation import PyanNet  # noqa: PLC0415  # imported on loading

    return OnlineDiarizer(PyannoteEmbedder(_require_model(model)), PyanNet(SEGMENTATION_FILE), CONFIG, NAME)


def _probe_sortformer(model: Path | None) -> Unavailable | None:
    return _find_missing_parts(("torch", "nemo", "lightning"), SORTFORMER_WEIGHTS, model)


def _load_sortformer(model: Path | None) -> Diarizer:
    from echoic.diarization.sortformer import SortformerDiarizer  # noqa: PLC0415  # imported on loading

    return SortformerDiarizer(_require_model(model))


def _find_missing_parts(
    modules: tuple[str, ...], external: ExternalWeights, model: Path | None
) -> Unavailable | None:
    absent = next((module for module in modules if not _is_installed(module)), None)
    if absent:
        return Unavailable(f"The module {absent} is not installed.", external.install_command)
    if model is None:
        return Unavailable(f"No file with its weights is configured. {external.weights_hint}")
    return (
        None if model.exists() else Unavailable(f"The file {model} does not exist. {external.weights_hint}")
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def _require_model(model: Path | None) -> Path:
    if model is None:
        raise ModelUnavailable("speakers", "No file with its weights is configured.")
    return model


def _load_scripted(_: Path | None) -> Diarizer:
    from echoic.diarization.scripted import ScriptedDiarizer  # noqa: PLC0415  # imported on loading

    return ScriptedDiarizer()


DIARIZER_SPECS: Mapping[str, DiarizerSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            DiarizerSpec(DEFAULT_DIARIZER, _probe_embedded, _load_embedded),
            DiarizerSpec(LIGHT_DIARIZER, _probe_embedded, _load_light),
            DiarizerSpec("pyannote", _probe_pyannote, _load_pyannote),
            DiarizerSpec("sortformer", _probe_sortformer, _load_sortformer),
            DiarizerSpec("scripted", lambda _: None, _load_scripted, is_listed=False),
        )
    }
)

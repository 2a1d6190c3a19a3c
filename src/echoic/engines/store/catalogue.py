"""Lists the models that can be downloaded by name: repositories, file formats and languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal, TypeAlias

from echoic.engines.parakeet.onnx_files import (
    CONFIG_FILE,
    CTC_STEM,
    ENCODER_STEM,
    JOINT_STEM,
    VOCABULARY_FILE,
)
from echoic.errors import ModelUnavailable

#: The engine that reads a model, which determines its files.
ModelFormat: TypeAlias = Literal["onnx", "ctc", "nemo", "mlx", "whisper"]
ENGLISH_ONLY = ("en",)
#: Source: https://huggingface.co/nvidia/parakeet-tdt-0.6b-v3.
EUROPEAN_LANGUAGES = (
    "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it",
    "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "es", "sv", "ru", "uk",
)  # fmt: skip
#: The quantization that is downloaded if it is published: a quarter of the size of float32.
DEFAULT_QUANTIZATION = "int8"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that can be downloaded."""

    name: str
    """Its name in echoic."""
    repository: str
    """Its repository on the hub."""
    model_format: ModelFormat
    languages: tuple[str, ...] = ENGLISH_ONLY
    """Lower-case, without region. Empty means too many to list."""
    model_type: str = "nemo-conformer-tdt"
    """``model_type`` of ``config.json``, for repositories without this file."""


#: Stems of the graphs of a model in ONNX, in the order of download.
GRAPH_STEMS: Mapping[ModelFormat, tuple[str, ...]] = MappingProxyType(
    {"onnx": (JOINT_STEM, ENCODER_STEM), "ctc": (CTC_STEM,)}
)
#: File patterns of the other formats: required files, the weights last, then optional files.
FILE_PATTERNS: Mapping[ModelFormat, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "nemo": (("*.nemo",), ()),
        "mlx": ((CONFIG_FILE, "model.safetensors"), ()),
        "whisper": (
            (CONFIG_FILE, "tokenizer.json", "vocabulary.*", "model.bin"),
            ("preprocessor_config.json",),
        ),
    }
)
#: Sizes of Whisper and their repositories. Source: https://github.com/SYSTRAN/faster-whisper (``utils.py``).
_WHISPER_REPOSITORIES: Mapping[str, str] = MappingProxyType(
    {
        "tiny": "Systran/faster-whisper-tiny",
        "tiny.en": "Systran/faster-whisper-tiny.en",
        "base": "Systran/faster-whisper-base",
        "base.en": "Systran/faster-whisper-base.en",
        "small": "Systran/faster-whisper-small",
        "small.en": "Systran/faster-whisper-small.en",
        "medium": "Systran/faster-whisper-medium",
        "medium.en": "Systran/faster-whisper-medium.en",
        "large-v2": "Systran/faster-whisper-large-v2",
        "large-v3": "Systran/faster-whisper-large-v3",
        "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "distil-small.en": "Systran/faster-distil-whisper-small.en",
        "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
        "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
        "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    }
)


def _list_sources() -> Iterable[ModelSource]:
    """Yield the models; an engine prefers the first of its models that is downloaded.

    NVIDIA's weights (CC-BY-4.0), exported to ONNX by the author of onnx-asr and by OpenVoiceOS, converted for
    MLX by its community; OpenAI's Whisper (MIT), converted for CTranslate2 by Systran and others.
    """
    yield ModelSource(
        "parakeet-tdt-0.6b-v3-onnx", "istupakov/parakeet-tdt-0.6b-v3-onnx", "onnx", EUROPEAN_LANGUAGES
    )
    yield ModelSource("parakeet-tdt-0.6b-v2-onnx", "istupakov/parakeet-tdt-0.6b-v2-onnx", "onnx")
    yield ModelSource("parakeet-tdt_ctc-110m-onnx", "OpenVoiceOS/nvidia-parakeet-tdt_ctc-110m-onnx", "onnx")
    yield ModelSource(
        "parakeet-rnnt-0.6b-onnx",
        "istupakov/parakeet-rnnt-0.6b-onnx",
        "onnx",
        ENGLISH_ONLY,
        "nemo-conformer-rnnt",
    )
    yield ModelSource(
        "parakeet-ctc-0.6b-onnx",
        "istupakov/parakeet-ctc-0.6b-onnx",
        "ctc",
        ENGLISH_ONLY,
        "nemo-conformer-ctc",
    )
    for name in ("parakeet-tdt-0.6b-v3", "parakeet-tdt-0.6b-v2", "parakeet-tdt_ctc-110m"):
        languages = EUROPEAN_LANGUAGES if name.endswith("v3") else ENGLISH_ONLY
        yield ModelSource(f"{name}-mlx", f"mlx-community/{name}", "mlx", languages)
        yield ModelSource(f"{name}-nemo", f"nvidia/{name}", "nemo", languages)
    for size, repository in _WHISPER_REPOSITORIES.items():
        english = size.endswith(".en") or size.startswith("distil")
        yield ModelSource(f"whisper-{size}", repository, "whisper", ENGLISH_ONLY if english else ())


MODEL_SOURCES: Mapping[str, ModelSource] = MappingProxyType(
    {source.name: source for source in _list_sources()}
)


def resolve_source(name: str) -> ModelSource:
    """Return the model named ``name``.

    Raises:
        ModelUnavailable: There is none; the error suggests similar names, or lists all.
    """
    wanted = name.strip()
    if wanted in MODEL_SOURCES:
        return MODEL_SOURCES[wanted]
    near = get_close_matches(wanted.lower(), MODEL_SOURCES, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"these can: {', '.join(MODEL_SOURCES)}."
    raise ModelUnavailable(wanted, f"It cannot be fetched by name; {hint}")


def list_model_names(*model_formats: ModelFormat) -> tuple[str, ...]:
    """Return the names of the models in these formats, the preferred one first."""
    return tuple(source.name for source in MODEL_SOURCES.values() if source.model_format in model_formats)


def select_files(model_format: ModelFormat, paths: Iterable[str], quantization: str | None) -> list[str]:
    """Return the files of a repository to download, the weights last.

    Args:
        model_format: The model's format.
        paths: The repository's files.
        quantization: Of ONNX graphs: a suffix such as ``int8``, empty for float32, None:
            ``DEFAULT_QUANTIZATION`` if it is published.

    Raises:
        LookupError: A required file is missing; the message is a sentence.
    """
    there = [path for path in paths if len(PurePosixPath(path).parts) == 1]
    if model_format in GRAPH_STEMS:
        return _select_graphs(GRAPH_STEMS[model_format], there, quantization)
    needed, more = FILE_PATTERNS[model_format]
    found = [[path for path in there if fnmatchcase(path, pattern)] for pattern in (*more, *needed)]
    for pattern, matches in zip(needed, found[len(more) :], strict=True):
        if not matches:
            raise LookupError(f"The repository on the hub has no file {pattern}.")
    return [path for matches in found for path in matches]


def get_weights_pattern(model_format: ModelFormat) -> str:
    """Return the pattern of the file that is downloaded last; where it exists, the model is complete."""
    return (
        f"{GRAPH_STEMS[model_format][-1]}*.onnx"
        if model_format in GRAPH_STEMS
        else FILE_PATTERNS[model_format][0][-1]
    )


def _select_graphs(stems: tuple[str, ...], available: list[str], quantization: str | None) -> list[str]:
    main = stems[-1]
    wanted = (
        DEFAULT_QUANTIZATION
        if quantization is None and f"{main}.{DEFAULT_QUANTIZATION}.onnx" in available
        else quantization or ""
    )
    suffix = f".{wanted}.onnx" if wanted else ".onnx"
    graphs = [
        next((one for one in (stem + suffix, f"{stem}.onnx") if one in available), stem + suffix)
        for stem in stems
    ]
    graphs[-1] = main + suffix
    beside = [
        path
        for path in available
        if path.startswith(tuple(f"{graph}{mark}" for graph in graphs for mark in "._"))
    ]
    for missing in (VOCABULARY_FILE, *graphs):
        if missing not in available:
            raise LookupError(f"The repository on the hub has no file {missing}.")
    return [VOCABULARY_FILE, *([CONFIG_FILE] if CONFIG_FILE in available else []), *beside, *graphs]

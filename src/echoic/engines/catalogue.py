"""The models that can be fetched by name: where they are published, in which form, what they understand."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from echoic.engines.parakeet_files import CONFIG, CTC, ENCODER, JOINT, VOCABULARY
from echoic.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Which engine reads a model, and so which files it is made of.
Form: TypeAlias = Literal["onnx", "ctc", "nemo", "mlx", "whisper"]
ENGLISH = ("en",)
#: Source: https://huggingface.co/nvidia/parakeet-tdt-0.6b-v3.
EUROPEAN = (
    "bg", "hr", "cs", "da", "nl", "en", "et", "fi", "fr", "de", "el", "hu", "it",
    "lv", "lt", "mt", "pl", "pt", "ro", "sk", "sl", "es", "sv", "ru", "uk",
)  # fmt: skip
#: The quantization that is fetched where it is published: a quarter of full precision.
USUAL = "int8"


@dataclass(frozen=True, slots=True)
class Source:
    """A model that can be fetched.

    Attributes:
        name: Its name here.
        repository: Its repository on the hub.
        form: Who reads it.
        languages: What it understands, lower-case and without region; empty: too many to name.
        architecture: What stands in ``config.json`` as ``model_type`` if the repository has no such file.
    """

    name: str
    repository: str
    form: Form
    languages: tuple[str, ...] = ENGLISH
    architecture: str = "nemo-conformer-tdt"


#: The graphs of a model in ONNX by their stems, the one that comes last at the end.
STEMS: Mapping[Form, tuple[str, ...]] = MappingProxyType({"onnx": (JOINT, ENCODER), "ctc": (CTC,)})
#: The other forms' files as patterns: those that must be there, the weights last, and those that may.
PATTERNS: Mapping[Form, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "nemo": (("*.nemo",), ()),
        "mlx": ((CONFIG, "model.safetensors"), ()),
        "whisper": ((CONFIG, "tokenizer.json", "vocabulary.*", "model.bin"), ("preprocessor_config.json",)),
    }
)
#: Sizes of Whisper and their repositories. Source: https://github.com/SYSTRAN/faster-whisper (``utils.py``).
_WHISPER: Mapping[str, str] = MappingProxyType(
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


def _all() -> Iterable[Source]:
    """Yield what can be fetched; of several that are there an engine takes the first.

    NVIDIA's weights (CC-BY-4.0), exported to ONNX by the author of onnx-asr and by OpenVoiceOS, converted for
    MLX by its community; OpenAI's Whisper (MIT), converted for CTranslate2 by Systran and others.
    """
    yield Source("parakeet-tdt-0.6b-v3-onnx", "istupakov/parakeet-tdt-0.6b-v3-onnx", "onnx", EUROPEAN)
    yield Source("parakeet-tdt-0.6b-v2-onnx", "istupakov/parakeet-tdt-0.6b-v2-onnx", "onnx")
    yield Source("parakeet-tdt_ctc-110m-onnx", "OpenVoiceOS/nvidia-parakeet-tdt_ctc-110m-onnx", "onnx")
    yield Source(
        "parakeet-rnnt-0.6b-onnx", "istupakov/parakeet-rnnt-0.6b-onnx", "onnx", ENGLISH, "nemo-conformer-rnnt"
    )
    yield Source(
        "parakeet-ctc-0.6b-onnx", "istupakov/parakeet-ctc-0.6b-onnx", "ctc", ENGLISH, "nemo-conformer-ctc"
    )
    for name in ("parakeet-tdt-0.6b-v3", "parakeet-tdt-0.6b-v2", "parakeet-tdt_ctc-110m"):
        languages = EUROPEAN if name.endswith("v3") else ENGLISH
        yield Source(f"{name}-mlx", f"mlx-community/{name}", "mlx", languages)
        yield Source(f"{name}-nemo", f"nvidia/{name}", "nemo", languages)
    for size, repository in _WHISPER.items():
        english = size.endswith(".en") or size.startswith("distil")
        yield Source(f"whisper-{size}", repository, "whisper", ENGLISH if english else ())


SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _all()})


def source_of(name: str) -> Source:
    """Return the model that can be fetched as ``name``.

    Raises:
        ModelUnavailable: There is none; the names that are nearest, or all.
    """
    wanted = name.strip()
    if wanted in SOURCES:
        return SOURCES[wanted]
    near = get_close_matches(wanted.lower(), SOURCES, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"these can: {', '.join(SOURCES)}."
    raise ModelUnavailable(wanted, f"It cannot be fetched by name; {hint}")


def names_of(*forms: Form) -> tuple[str, ...]:
    """Return the names of the models in these forms, the one to be taken first at the front."""
    return tuple(source.name for source in SOURCES.values() if source.form in forms)


def files_of(form: Form, paths: Iterable[str], quantization: str | None) -> list[str]:
    """Return which of a repository's files make up the model, its weights last.

    Args:
        form: Who reads it.
        paths: What the repository holds.
        quantization: Of graphs: a suffix such as ``int8``, empty for full precision, None: ``USUAL`` where
            it is published.

    Raises:
        LookupError: One that must be there is not: a sentence.
    """
    there = [path for path in paths if len(PurePosixPath(path).parts) == 1]
    if form in STEMS:
        return _graphs(STEMS[form], there, quantization)
    needed, more = PATTERNS[form]
    found = [[path for path in there if fnmatchcase(path, pattern)] for pattern in (*more, *needed)]
    for pattern, matches in zip(needed, found[len(more) :], strict=True):
        if not matches:
            raise LookupError(f"The repository on the hub has no file {pattern}.")
    return [path for matches in found for path in matches]


def main_file(form: Form) -> str:
    """Return the pattern of the file that is fetched last: where it is, everything is."""
    return f"{STEMS[form][-1]}*.onnx" if form in STEMS else PATTERNS[form][0][-1]


def _graphs(stems: tuple[str, ...], there: list[str], quantization: str | None) -> list[str]:
    main = stems[-1]
    wanted = USUAL if quantization is None and f"{main}.{USUAL}.onnx" in there else quantization or ""
    suffix = f".{wanted}.onnx" if wanted else ".onnx"
    graphs = [
        next((one for one in (stem + suffix, f"{stem}.onnx") if one in there), stem + suffix)
        for stem in stems
    ]
    graphs[-1] = main + suffix
    beside = [
        path
        for path in there
        if path.startswith(tuple(f"{graph}{mark}" for graph in graphs for mark in "._"))
    ]
    for missing in (VOCABULARY, *graphs):
        if missing not in there:
            raise LookupError(f"The repository on the hub has no file {missing}.")
    return [VOCABULARY, *([CONFIG] if CONFIG in there else []), *beside, *graphs]

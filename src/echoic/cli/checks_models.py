"""Which recognisers can work here: libraries, what they compute with, weights; nothing heavy is imported."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from echoic.cli.checks import Check, State

if TYPE_CHECKING:
    from echoic.server.settings import Settings

_NEMO, _MLX, _WHISPER = (f"pip install 'echoic[{extra}]'" for extra in ("nemo", "mlx", "whisper"))
#: Modules that the server can do without: their packages, what needs them, and the command that brings them.
OPTIONAL = {
    "huggingface_hub": ("huggingface-hub", "echoic models get", "pip install huggingface-hub"),
    "torch": ("torch", "parakeet-standard", _NEMO),
    "nemo": ("nemo_toolkit", "parakeet-standard", _NEMO),
    "mlx": ("mlx", "parakeet-mlx", _MLX),
    "parakeet_mlx": ("parakeet-mlx", "parakeet-mlx", _MLX),
    "faster_whisper": ("faster-whisper", "whisper", _WHISPER),
    "ctranslate2": ("ctranslate2", "whisper", _WHISPER),
    "openai": ("openai", "insights by a language model", "pip install 'echoic[insights]'"),
    "sounddevice": ("sounddevice", "echoic listen", "pip install 'echoic[microphone]'"),
    "onnx": ("onnx", "echoic models optimize", "pip install 'echoic[optimize]'"),
}


def optional_libraries() -> list[Check]:
    """Return a check for each library that only some models or commands need; none is imported."""
    return [_optional(module, *row) for module, row in OPTIONAL.items()]


def _optional(module: str, package: str, use: str, install: str) -> Check:
    if find_spec(module) is None:
        return Check(package, "note", f"not installed; {use} needs it", install)
    try:
        return Check(package, "ok", version(package))
    except PackageNotFoundError:
        return Check(package, "ok", "of unknown version")


def provider(settings: "Settings") -> Check:
    """Return what onnxruntime can compute by, and what it will."""
    from echoic.engines.providers import chosen, offered
    from echoic.errors import ModelUnavailable

    there = offered()
    try:
        first = chosen(settings.onnx_provider, there)[0].removesuffix("ExecutionProvider")
    except ModelUnavailable as refusal:
        return Check("onnxruntime computes", "note", refusal.reason, refusal.install)
    return Check("onnxruntime computes", "ok", f"by {first}; it offers {', '.join(there)}")


def models(settings: "Settings") -> list[Check]:
    """Return a check for each model; the server cannot work if there is none."""
    from echoic.server.app import models_of

    registry = models_of(settings)
    rows = registry.describe()
    worst: State = "note" if any(row.available for row in rows) else "missing"
    checks = []
    for row in rows:
        place = registry.place(row.id)
        found = row.reason or (f"in {place}" if place else "there")
        checks.append(Check(f"model {row.id}", "ok" if row.available else worst, found, row.install))
    return checks


def diarizers(settings: "Settings") -> list[Check]:
    """Return a check for each diarizer; none is loaded. What the settings name is theirs alone."""
    from echoic.speakers.seats import SEATS, probe

    checks = []
    for name, seat in SEATS.items():
        if seat.listed:
            chosen = name == settings.speakers_diarizer
            missing = probe(name, settings.speakers_model if chosen else None)
            state: State = "note" if missing else "ok"
            found = missing.reason if missing else "there"
            if missing and chosen:
                found = f"the settings name it, so speakers are not told apart: {found}"
            checks.append(Check(f"diarizer {name}", state, found, missing.install if missing else None))
    return checks


def outdated_forms(settings: "Settings") -> list[Check]:
    """Return a note if what ``echoic models optimize`` made is left out since its originals changed."""
    from echoic.engines.parakeet_files import NAME, look_through
    from echoic.errors import ModelUnavailable
    from echoic.server.app import models_of

    place = models_of(settings).place(NAME)
    try:
        outdated = look_through(place).outdated if place else ""
    except ModelUnavailable:  # which the model's own check says
        return []
    found, _, again = outdated.partition(" Make them anew: ")
    return [Check("optimized forms", "note", found, again)] if found else []


def models_folder(settings: "Settings") -> Check:
    """Return where models are fetched to, and what was fetched, complete or not."""
    from echoic.cli.places import models_folder as folder_here
    from echoic.engines.weights import list_fetched

    folder = folder_here(settings)
    fetched = list_fetched(folder)
    torn = [one.name for one in fetched if not one.complete]
    found = f"{folder}, {len(fetched)} fetched"
    if torn:
        return Check("models", "note", f"{found}; cut off: {', '.join(torn)}", f"echoic models get {torn[0]}")
    return Check("models", "ok", found)

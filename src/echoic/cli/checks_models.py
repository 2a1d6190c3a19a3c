"""Which recognisers can work here: libraries, what they compute with, weights; nothing heavy is imported."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from echoic.cli.checks import CheckResult, CheckState

if TYPE_CHECKING:
    from echoic.server.settings import Settings

_NEMO, _MLX, _WHISPER = (f"pip install 'echoic[{extra}]'" for extra in ("nemo", "mlx", "whisper"))
#: Modules that the server can do without: their packages, what needs them, and the command that brings them.
OPTIONAL_PACKAGES = {
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


def inspect_optional_libraries() -> list[CheckResult]:
    """Return a check for each library that only some models or commands need; none is imported."""
    return [_inspect_optional_library(module, *row) for module, row in OPTIONAL_PACKAGES.items()]


def _inspect_optional_library(module: str, package: str, use: str, install: str) -> CheckResult:
    if find_spec(module) is None:
        return CheckResult(package, "note", f"not installed; {use} needs it", install)
    try:
        return CheckResult(package, "ok", version(package))
    except PackageNotFoundError:
        return CheckResult(package, "ok", "of unknown version")


def inspect_onnx_provider(settings: "Settings") -> CheckResult:
    """Return what onnxruntime can compute by, and what it will."""
    from echoic.engines.providers import list_providers, resolve_providers
    from echoic.errors import ModelUnavailable

    there = list_providers()
    try:
        first = resolve_providers(settings.onnx_provider, there)[0].removesuffix("ExecutionProvider")
    except ModelUnavailable as refusal:
        return CheckResult("onnxruntime computes", "note", refusal.reason, refusal.install)
    return CheckResult("onnxruntime computes", "ok", f"by {first}; it offers {', '.join(there)}")


def inspect_models(settings: "Settings") -> list[CheckResult]:
    """Return a check for each model; the server cannot work if there is none."""
    from echoic.server.app import build_registry

    registry = build_registry(settings)
    rows = registry.describe_models()
    worst: CheckState = "note" if any(row.available for row in rows) else "missing"
    checks = []
    for row in rows:
        place = registry.find_weights(row.id)
        found = row.reason or (f"in {place}" if place else "there")
        checks.append(CheckResult(f"model {row.id}", "ok" if row.available else worst, found, row.install))
    return checks


def inspect_diarizers(settings: "Settings") -> list[CheckResult]:
    """Return a check for each diarizer; none is loaded. What the settings name is theirs alone."""
    from echoic.speakers.seats import DIARIZER_SPECS, probe_diarizer

    checks = []
    for name, seat in DIARIZER_SPECS.items():
        if seat.is_listed:
            chosen = name == settings.speakers_diarizer
            missing = probe_diarizer(name, settings.speakers_model if chosen else None)
            state: CheckState = "note" if missing else "ok"
            found = missing.reason if missing else "there"
            if missing and chosen:
                found = f"the settings name it, so speakers are not told apart: {found}"
            checks.append(CheckResult(f"diarizer {name}", state, found, missing.install if missing else None))
    return checks


def inspect_optimized_forms(settings: "Settings") -> list[CheckResult]:
    """Return a note if what ``echoic models optimize`` made is left out since its originals changed."""
    from echoic.engines.parakeet_files import ONNX_MODEL_ID, inspect_onnx_folder
    from echoic.errors import ModelUnavailable
    from echoic.server.app import build_registry

    place = build_registry(settings).find_weights(ONNX_MODEL_ID)
    try:
        outdated = inspect_onnx_folder(place).outdated_reason if place else ""
    except ModelUnavailable:  # which the model's own check says
        return []
    found, _, again = outdated.partition(" Make them anew: ")
    return [CheckResult("optimized forms", "note", found, again)] if found else []


def inspect_models_folder(settings: "Settings") -> CheckResult:
    """Return where models are fetched to, and what was fetched, complete or not."""
    from echoic.cli.places import resolve_models_folder as folder_here
    from echoic.engines.weights import list_cached_models

    folder = folder_here(settings)
    fetched = list_cached_models(folder)
    torn = [one.name for one in fetched if not one.is_complete]
    found = f"{folder}, {len(fetched)} fetched"
    if torn:
        return CheckResult(
            "models", "note", f"{found}; cut off: {', '.join(torn)}", f"echoic models get {torn[0]}"
        )
    return CheckResult("models", "ok", found)

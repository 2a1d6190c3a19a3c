"""Reports model settings that cannot be honoured at startup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final

from echoic.engines import onnx_runtime
from echoic.engines.registry import MODEL_ALIASES, Registry, resolve_model_id
from echoic.errors import ModelUnavailable
from echoic.interfaces.engine import ModelRequest
from echoic.server.settings.groups import Settings

#: The model of each setting that concerns one model only.
MODEL_OF_SETTING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "parakeet_onnx_dir": "parakeet-onnx",
        "parakeet_quantization": "parakeet-onnx",
        "parakeet_nemo_file": "parakeet-standard",
        "parakeet_mlx_dir": "parakeet-mlx",
        "whisper_model": "whisper",
    }
)
_NOT_LOADED: Final = "It is installed but could not be loaded."


@dataclass(frozen=True, slots=True)
class UnmetSetting:
    """A model setting that cannot be honoured."""

    #: The name of the setting.
    setting: str
    #: The id of its model.
    model: str
    #: Why it cannot be honoured, as a sentence.
    reason: str
    #: The model that is used instead, or None.
    fallback_model: str | None

    @property
    def message(self) -> str:
        """The problem as a line of the startup message."""
        fallback = f" Using {self.fallback_model} instead." if self.fallback_model else ""
        return f"{self.model}: {self.reason}{fallback}"


def find_unmet_settings(
    settings: Settings, registry: Registry, active_model: str | None = None
) -> tuple[UnmetSetting, ...]:
    """Return the model settings that cannot be honoured; reads the models' folders.

    Args:
        settings: The server's settings; defaults are not reported.
        registry: The models that streams may ask for.
        active_model: The model that was loaded for ``preload_model``, or None.
    """
    found: dict[tuple[str, str], UnmetSetting] = {}
    for one in (
        *_find_unmet_models(settings, registry, active_model),
        *_find_unmet_provider(settings, registry),
    ):
        found.setdefault((one.model, one.reason), one)
    return tuple(found.values())


def _find_unmet_models(
    settings: Settings, registry: Registry, active_model: str | None
) -> Iterator[UnmetSetting]:
    wanted = [
        (setting, model)
        for setting, model in MODEL_OF_SETTING.items()
        if getattr(settings.stt, setting) is not None
    ]
    first = settings.stt.preload_model
    if (
        active_model
        and "preload_model" in settings.stt.model_fields_set
        and not _is_variant_of(first, active_model)
    ):
        wanted.append(("preload_model", first))
    for setting, model in wanted:
        if (reason := _find_unavailable_reason(registry, model)) is not None:
            yield UnmetSetting(
                setting, resolve_model_id(model), reason, _find_fallback(settings, registry, model)
            )
        elif active_model and _has_failed_to_load(model, settings, registry, active_model):
            yield UnmetSetting(setting, resolve_model_id(model), _NOT_LOADED, active_model)


def _find_unmet_provider(settings: Settings, registry: Registry) -> Iterator[UnmetSetting]:
    if settings.stt.onnx_provider == "auto" or find_spec("onnxruntime") is None:
        return
    try:
        onnx_runtime.resolve_providers(settings.stt.onnx_provider, onnx_runtime.list_providers())
    except ModelUnavailable as refusal:
        model = "parakeet-onnx"
        yield UnmetSetting("onnx_provider", model, refusal.reason, _find_fallback(settings, registry, model))


def _find_unavailable_reason(registry: Registry, model: str) -> str | None:
    try:
        registry.resolve_model(ModelRequest(model, ""), fallback=False)
    except ModelUnavailable as refusal:
        return refusal.reason
    except OSError:
        return "Its files cannot be read."
    return None


def _find_fallback(settings: Settings, registry: Registry, model: str) -> str | None:
    try:
        return registry.resolve_model(
            ModelRequest(model, ""), fallback=settings.stt.streaming_fallback
        ).model_id
    except (ModelUnavailable, OSError):
        return None


def _has_failed_to_load(model: str, settings: Settings, registry: Registry, active_model: str) -> bool:
    """Return whether ``model`` was found and should have been preloaded, but another one was loaded."""
    first = _find_fallback(settings, registry, settings.stt.preload_model)
    return first not in (None, active_model) and first == _find_fallback(settings, registry, model)


def _is_variant_of(model: str, active_model: str) -> bool:
    """Return whether ``model`` names a family without a variant, and ``active_model`` is of that family."""
    family, variant = MODEL_ALIASES.get(model.strip().lower(), ("", ""))
    return variant is None and active_model.startswith(f"{family}-")

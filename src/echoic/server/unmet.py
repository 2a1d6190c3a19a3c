"""Settings about models that somebody made and that cannot be met: each is told, none is passed over."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from echoic.engines import providers
from echoic.engines.registry import NAMES, resolve_name
from echoic.errors import ModelUnavailable
from echoic.session.effects import ModelRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from echoic.engines.registry import Registry
    from echoic.server.settings import Settings

#: Settings that are about one model alone, and that model.
ABOUT: Final[Mapping[str, str]] = MappingProxyType(
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
class Unmet:
    """A setting that cannot be met.

    Attributes:
        setting: Its name.
        model: What it is about.
        reason: Why it cannot, in a sentence.
        instead: The model that answers in its stead, or None.
    """

    setting: str
    model: str
    reason: str
    instead: str | None

    @property
    def sentence(self) -> str:
        """What a person is told."""
        return f"{self.model}: {self.reason}" + (f" {self.instead} stands in." if self.instead else "")


def unmet(settings: Settings, registry: Registry, active: str | None = None) -> tuple[Unmet, ...]:
    """Return the settings about models that were made and cannot be met; looks at the disk.

    Args:
        settings: What the server is told; defaults are nobody's wish.
        registry: The models there are.
        active: The model that was loaded for ``preload_model``, or None.
    """
    found: dict[tuple[str, str], Unmet] = {}
    for one in (*_about_models(settings, registry, active), *_about_provider(settings, registry)):
        found.setdefault((one.model, one.reason), one)
    return tuple(found.values())


def _about_models(settings: Settings, registry: Registry, active: str | None) -> Iterator[Unmet]:
    wishes = [(setting, model) for setting, model in ABOUT.items() if getattr(settings, setting) is not None]
    first = settings.preload_model
    if active and "preload_model" in settings.model_fields_set and not _is_any(first, active):
        wishes.append(("preload_model", first))
    for setting, model in wishes:
        if (reason := _refusal(registry, model)) is not None:
            yield Unmet(setting, resolve_name(model), reason, _stand_in(settings, registry, model))
        elif active and _was_passed_over(model, settings, registry, active):
            yield Unmet(setting, resolve_name(model), _NOT_LOADED, active)


def _about_provider(settings: Settings, registry: Registry) -> Iterator[Unmet]:
    if settings.onnx_provider == "auto" or find_spec("onnxruntime") is None:
        return
    try:
        providers.chosen(settings.onnx_provider, providers.offered())
    except ModelUnavailable as refusal:
        model = "parakeet-onnx"
        yield Unmet("onnx_provider", model, refusal.reason, _stand_in(settings, registry, model))


def _refusal(registry: Registry, model: str) -> str | None:
    try:
        registry.resolve(ModelRequest(model, ""), fallback=False)
    except ModelUnavailable as refusal:
        return refusal.reason
    except OSError:
        return "Its files cannot be read."
    return None


def _stand_in(settings: Settings, registry: Registry, model: str) -> str | None:
    try:
        return registry.resolve(ModelRequest(model, ""), fallback=settings.streaming_fallback).name
    except (ModelUnavailable, OSError):
        return None


def _was_passed_over(model: str, settings: Settings, registry: Registry, active: str) -> bool:
    """Return whether ``model`` seemed to be there, was to be loaded at start, and was not."""
    first = _stand_in(settings, registry, settings.preload_model)
    return first not in (None, active) and first == _stand_in(settings, registry, model)


def _is_any(model: str, active: str) -> bool:
    """Return whether ``model`` leaves open which variant it means and ``active`` is one of them."""
    family, variant = NAMES.get(model.strip().lower(), ("", ""))
    return variant is None and active.startswith(f"{family}-")

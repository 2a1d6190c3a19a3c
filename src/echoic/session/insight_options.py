"""What a client may ask of insights, in the ``insights`` of a ``config`` frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from echoic.errors import ErrorCode, ProtocolError

#: The providers that can be asked for by name.
INSIGHT_PROVIDERS: Final = ("rules", "llm")
#: Seconds that a client may ask for from one insight to the next.
MIN_INSIGHT_INTERVAL: Final = 1.0
MAX_INSIGHT_INTERVAL: Final = 3600.0
_MAX_SEGMENTS: Final = 1000
_MAX_NAME_LENGTH: Final = 128

#: Keys of the object; two of them also by the names that clients of the system this protocol comes from use.
_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "enabled": "enabled",
        "interval_seconds": "interval_seconds",
        "summary_interval_seconds": "interval_seconds",
        "window_segments": "window_segments",
        "context_window_segments": "window_segments",
        "provider": "provider",
        "model": "model",
    }
)


@dataclass(frozen=True, slots=True)
class InsightOptions:
    """What a client asks of insights; None: whatever the server does by default.

    Attributes:
        interval_seconds: At least so many seconds from one live insight to the next. The server's own
            setting is the least.
        window_segments: A live insight looks at this many of the last finals at least.
        provider: ``rules`` or ``llm``.
        model: The language model's name.
    """

    interval_seconds: float | None = None
    window_segments: int | None = None
    provider: str | None = None
    model: str | None = None


def parse_insights(value: object) -> InsightOptions | None:
    """Return what the value of ``insights`` asks for, or None: no insights.

    Args:
        value: ``true``, ``false``, or an object; an empty one asks for insights as they come.

    Raises:
        ProtocolError: ``invalid_config`` naming the key that is wrong.
    """
    if isinstance(value, bool):
        return InsightOptions() if value else None
    if not isinstance(value, Mapping):
        raise _build_error("insights", "true, false or an object", value)
    given = {key: one for key, one in value.items() if one is not None}
    if not _read_boolean(given.get("enabled", True)):
        return None
    read: dict[str, object] = {}
    for key, one in given.items():
        if (name := _KEYS.get(key)) not in (None, "enabled"):
            read.setdefault(str(name), _READERS[str(name)](key, one))
    return InsightOptions(**read)  # type: ignore[arg-type]  # each reader returns its field's type


def list_unknown_keys(value: object) -> tuple[str, ...]:
    """Return the keys of ``insights`` that mean nothing here, as ``insights.key``: they are ``ignored``."""
    if not isinstance(value, Mapping):
        return ()
    return tuple(sorted(f"insights.{str(key)[:_MAX_NAME_LENGTH]}" for key in value if key not in _KEYS))


def _build_error(name: str, must: str, value: object) -> ProtocolError:
    shown = value if isinstance(value, bool | int | None) else str(value)[:40]
    return ProtocolError(ErrorCode.INVALID_CONFIG, f"{name} must be {must}.", field=name, value=shown)


def _read_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _build_error("insights.enabled", "true or false", value)
    return value


def _read_interval(key: str, value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not MIN_INSIGHT_INTERVAL <= value <= MAX_INSIGHT_INTERVAL:  # type: ignore[operator]
        must = f"a number of seconds from {MIN_INSIGHT_INTERVAL:g} to {MAX_INSIGHT_INTERVAL:g}"
        raise _build_error(f"insights.{key}", must, value)
    return float(value)  # type: ignore[arg-type]


def _read_window(key: str, value: object) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or not 1 <= value <= _MAX_SEGMENTS:  # type: ignore[operator]
        raise _build_error(f"insights.{key}", f"a whole number from 1 to {_MAX_SEGMENTS}", value)
    return int(value)  # type: ignore[call-overload,no-any-return]


def _read_provider(key: str, value: object) -> str:
    if not isinstance(value, str) or value.strip().lower() not in INSIGHT_PROVIDERS:
        raise _build_error(f"insights.{key}", f"one of {', '.join(INSIGHT_PROVIDERS)}", value)
    return value.strip().lower()


def _read_model(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_NAME_LENGTH:
        raise _build_error(f"insights.{key}", f"a name of 1 to {_MAX_NAME_LENGTH} characters", value)
    return value.strip()


_READERS: Final = MappingProxyType(
    {
        "interval_seconds": _read_interval,
        "window_segments": _read_window,
        "provider": _read_provider,
        "model": _read_model,
    }
)

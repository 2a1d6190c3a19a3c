"""Tiers: the limits of users, by the name of their tier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from echoic.quotas.model import TierLimits, from_minutes

#: The limits that can be set; in the settings file as ``<tier>_<key>``.
TierLimitName = Literal["daily_minutes", "concurrent_streams"]
TIER_LIMIT_NAMES: Final = ("daily_minutes", "concurrent_streams")
#: Spellings of an unlimited value.
UNLIMITED_WORDS: Final = frozenset({"unlimited", "none", "-1"})
#: The highest limit. A hundred times as much, in microseconds, is still exact in Redis, which uses doubles.
_MAX_LIMIT: Final = 1_000_000
#: Keys of other programs in the same setting; ignored.
_IGNORED_KEYS: Final = frozenset({"concurrent_jobs", "max_file_size_mb"})
#: The tier whose limits apply to users of undefined tiers.
FALLBACK_TIER: Final = "free"

#: Overrides by tier and key. None means unlimited.
TierOverrides = Mapping[str, Mapping[str, float | None]]

#: Source: the protocol this server implements, section 9.
DEFAULT_TIER_LIMITS: Final[Mapping[str, TierLimits]] = MappingProxyType(
    {
        "free": TierLimits(from_minutes(30), 1),
        "standard": TierLimits(from_minutes(300), 3),
        "premium": TierLimits(None, 10),
        "local": TierLimits(),
    }
)


@dataclass(frozen=True, slots=True)
class Tiers:
    """The limits of all tiers."""

    #: Limits by the tier's name.
    limits_by_name: Mapping[str, TierLimits] = field(default_factory=lambda: DEFAULT_TIER_LIMITS)

    def resolve_limits(self, tier: str) -> TierLimits:
        """Return a tier's limits; an undefined tier has those of ``free``."""
        return self.limits_by_name.get(tier, self.limits_by_name[FALLBACK_TIER])

    def with_overrides(self, overrides: TierOverrides) -> Tiers:
        """Return tiers with changed limits; a new tier is unlimited except for the given limits."""
        return Tiers(
            dict(self.limits_by_name)
            | {tier: self._apply_overrides(tier, keys) for tier, keys in overrides.items()}
        )

    def _apply_overrides(self, tier: str, overrides: Mapping[str, float | None]) -> TierLimits:
        limits = self.limits_by_name.get(tier, TierLimits())
        if "daily_minutes" in overrides:
            minutes = overrides["daily_minutes"]
            limits = replace(limits, daily_microseconds=None if minutes is None else from_minutes(minutes))
        if "concurrent_streams" in overrides:
            streams = overrides["concurrent_streams"]
            limits = replace(limits, max_streams=None if streams is None else int(streams))
        return limits


def parse_tier_setting(name: str) -> tuple[str, str] | None:
    """Split ``<tier>_<key>`` into tier and key; return None for another name."""
    for key in TIER_LIMIT_NAMES:
        tier = name.removesuffix("_" + key)
        if tier and tier != name:
            return tier, key
    return None


def parse_tier_overrides(value: object) -> TierOverrides:
    """Parse and validate tier overrides, given as JSON or as a mapping.

    Raises:
        ValueError: The value is not an object of objects, or a key or a limit is invalid.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("it is not JSON") from error
    if not isinstance(value, Mapping):
        message = 'it should look like {"free": {"daily_minutes": 60, "concurrent_streams": 2}}'
        raise ValueError(message)  # noqa: TRY004  # a setting's value
    return {str(tier).lower(): _parse_tier(str(tier), keys) for tier, keys in value.items()}


def _parse_tier(tier: str, keys: object) -> dict[str, float | None]:
    if not isinstance(keys, Mapping):
        raise ValueError(f"the limits of {tier!r} should be an object")  # noqa: TRY004  # a setting's value
    limits: dict[str, float | None] = {}
    for key, limit in keys.items():
        if key in TIER_LIMIT_NAMES:
            limits[key] = _parse_limit(f"{tier}_{key}", limit, must_be_whole=key == "concurrent_streams")
        elif key not in _IGNORED_KEYS:
            raise ValueError(f"{key!r} of {tier!r} is none of {', '.join(TIER_LIMIT_NAMES)}")
    return limits


def _parse_limit(name: str, limit: object, *, must_be_whole: bool) -> float | None:
    if limit is None or (str(limit).strip().lower() in UNLIMITED_WORDS and not isinstance(limit, bool)):
        return None
    try:
        number = float(str(limit))
    except ValueError:
        number = -1.0
    if not 0 <= number <= _MAX_LIMIT or (must_be_whole and not number.is_integer()):
        kind = "a whole number" if must_be_whole else "a number"
        raise ValueError(f"{name} should be {kind} from 0 to {_MAX_LIMIT:,}, or unlimited")
    return number

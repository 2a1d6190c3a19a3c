"""Tiers: what users may, by the name of their tier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal

from echoic.limits.quota import Allowance, from_minutes

#: What can be set of a tier; in the file as ``<tier>_<key>``.
TierKey = Literal["daily_minutes", "concurrent_streams"]
TIER_KEYS: Final = ("daily_minutes", "concurrent_streams")
#: What a limit may be written as when there is to be none.
UNLIMITED: Final = frozenset({"unlimited", "none", "-1"})
#: The highest limit. In microseconds a hundred times as much is still whole in a store that counts in
#: doubles, as Redis's scripts do.
_MOST: Final = 1_000_000
#: Keys that others keep in the same place; they mean nothing here.
_KEYS_OF_OTHERS: Final = frozenset({"concurrent_jobs", "max_file_size_mb"})
#: Whoever has a tier that is not defined gets this one's limits.
LEAST_TIER: Final = "free"

#: What is written about tiers: by tier, by key; None: unlimited.
TierLimits = Mapping[str, Mapping[str, float | None]]

#: Source: the protocol this server implements, section 9.
STANDARD: Final[Mapping[str, Allowance]] = MappingProxyType(
    {
        "free": Allowance(from_minutes(30), 1),
        "standard": Allowance(from_minutes(300), 3),
        "premium": Allowance(None, 10),
        "local": Allowance(),
    }
)


@dataclass(frozen=True, slots=True)
class Tiers:
    """The limits of all tiers.

    Attributes:
        by_name: Each tier's limits.
    """

    by_name: Mapping[str, Allowance] = field(default_factory=lambda: STANDARD)

    def of(self, tier: str) -> Allowance:
        """Return a tier's limits; one that is not defined has those of ``free``."""
        return self.by_name.get(tier, self.by_name[LEAST_TIER])

    def over(self, changes: TierLimits) -> Tiers:
        """Return these tiers with changes over them; a new tier has no limits but those it is given."""
        return Tiers(dict(self.by_name) | {tier: self._changed(tier, keys) for tier, keys in changes.items()})

    def _changed(self, tier: str, keys: Mapping[str, float | None]) -> Allowance:
        allowance = self.by_name.get(tier, Allowance())
        if "daily_minutes" in keys:
            minutes = keys["daily_minutes"]
            allowance = replace(allowance, daily=None if minutes is None else from_minutes(minutes))
        if "concurrent_streams" in keys:
            streams = keys["concurrent_streams"]
            allowance = replace(allowance, streams=None if streams is None else int(streams))
        return allowance


def tier_key(name: str) -> tuple[str, str] | None:
    """Return the tier and the key that ``<tier>_<key>`` names, or None: it names none."""
    for key in TIER_KEYS:
        tier = name.removesuffix("_" + key)
        if tier and tier != name:
            return tier, key
    return None


def read_tiers(value: object) -> TierLimits:
    """Return what is written about tiers, as JSON or as a mapping, with every limit checked.

    Raises:
        ValueError: It is not an object of objects, or a key or a limit in it is none; the message says which.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("it is not JSON") from error
    if not isinstance(value, Mapping):
        raise ValueError('it should look like {"free": {"daily_minutes": 60, "concurrent_streams": 2}}')  # noqa: TRY004  # a setting's value
    return {str(tier).lower(): _read_tier(str(tier), keys) for tier, keys in value.items()}


def _read_tier(tier: str, keys: object) -> dict[str, float | None]:
    if not isinstance(keys, Mapping):
        raise ValueError(f"the limits of {tier!r} should be an object")  # noqa: TRY004  # a setting's value
    found: dict[str, float | None] = {}
    for key, limit in keys.items():
        if key in TIER_KEYS:
            found[key] = _read_limit(f"{tier}_{key}", limit, whole=key == "concurrent_streams")
        elif key not in _KEYS_OF_OTHERS:
            raise ValueError(f"{key!r} of {tier!r} is none of {', '.join(TIER_KEYS)}")
    return found


def _read_limit(name: str, limit: object, *, whole: bool) -> float | None:
    if limit is None or (str(limit).strip().lower() in UNLIMITED and not isinstance(limit, bool)):
        return None
    try:
        number = float(str(limit))
    except ValueError:
        number = -1.0
    if not 0 <= number <= _MOST or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name} should be {kind} from 0 to {_MOST:,}, or unlimited")
    return number

from __future__ import annotations

import pytest

from echoic.quotas.model import TierLimits
from echoic.quotas.tiers import Tiers, parse_tier_overrides, parse_tier_setting

MINUTE = 60_000_000


def test_the_default_tiers_are_those_of_the_protocol() -> None:
    tiers = Tiers()
    assert tiers.resolve_limits("free") == TierLimits(30 * MINUTE, 1)
    assert tiers.resolve_limits("standard") == TierLimits(300 * MINUTE, 3)
    assert tiers.resolve_limits("premium") == TierLimits(None, 10)
    assert tiers.resolve_limits("local") == TierLimits(None, None)


def test_an_undefined_tier_has_the_limits_of_free() -> None:
    assert Tiers().with_overrides({"free": {"daily_minutes": 5}}).resolve_limits("gold") == TierLimits(
        5 * MINUTE, 1
    )


def test_overrides_change_limits_and_add_tiers() -> None:
    tiers = Tiers().with_overrides({"standard": {"daily_minutes": 0.5}, "team": {"concurrent_streams": 7}})
    assert tiers.resolve_limits("standard") == TierLimits(MINUTE // 2, 3)
    assert tiers.resolve_limits("team") == TierLimits(None, 7)
    assert tiers.resolve_limits("free") == Tiers().resolve_limits("free")


@pytest.mark.parametrize("unlimited", ["null", '"unlimited"', '"None"', "-1", '"-1"'])
def test_unlimited_has_several_spellings(unlimited: str) -> None:
    assert parse_tier_overrides(f'{{"Free": {{"daily_minutes": {unlimited}}}}}') == {
        "free": {"daily_minutes": None}
    }


def test_numbers_may_be_text_and_foreign_keys_are_ignored() -> None:
    read = parse_tier_overrides(
        {"free": {"daily_minutes": "1.5", "concurrent_streams": 2, "concurrent_jobs": 1}}
    )
    assert read == {"free": {"daily_minutes": 1.5, "concurrent_streams": 2.0}}


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("{", "JSON"),
        ("[]", "should look like"),
        ('{"free": 30}', "free"),
        ('{"free": {"minutes": 30}}', "minutes"),
        ('{"free": {"daily_minutes": "lots"}}', "free_daily_minutes"),
        ('{"free": {"daily_minutes": -2}}', "free_daily_minutes"),
        ('{"free": {"daily_minutes": NaN}}', "free_daily_minutes"),
        ('{"free": {"daily_minutes": Infinity}}', "free_daily_minutes"),
        ('{"free": {"daily_minutes": true}}', "free_daily_minutes"),
        ('{"free": {"concurrent_streams": 1.5}}', "free_concurrent_streams"),
    ],
)
def test_an_invalid_override_is_named(written: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_tier_overrides(written)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("free_daily_minutes", ("free", "daily_minutes")),
        ("night_shift_concurrent_streams", ("night_shift", "concurrent_streams")),
        ("daily_minutes", None),
        ("_daily_minutes", None),
        ("free_minutes", None),
    ],
)
def test_a_setting_of_the_file_names_its_tier(name: str, means: tuple[str, str] | None) -> None:
    assert parse_tier_setting(name) == means


@pytest.mark.parametrize(
    "limit",
    ["nan", "-nan", "inf", "1e309", "1e305", "1000001", "-0.5", True, "0x10", [], {}, 10**400, "9" * 400],
)
def test_an_uncountable_number_is_no_limit(limit: object) -> None:
    for key in ("daily_minutes", "concurrent_streams"):
        with pytest.raises(ValueError, match=f"free_{key} should be"):
            parse_tier_overrides({"free": {key: limit}})


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "{" * 10 + "NaN"])
def test_oversized_json_is_rejected(bomb: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|look like"):
        parse_tier_overrides(bomb)


def test_the_highest_limits_are_whole_microseconds() -> None:
    highest = Tiers().with_overrides(
        parse_tier_overrides({"free": {"daily_minutes": 1e6, "concurrent_streams": "1000000"}})
    )
    assert highest.resolve_limits("free") == TierLimits(60_000_000_000_000, 1_000_000)

from __future__ import annotations

import pytest

from echoic.limits.quota import Allowance
from echoic.limits.tiers import Tiers, read_tiers, tier_key

MINUTE = 60_000_000


def test_the_standard_tiers_are_those_of_the_protocol() -> None:
    tiers = Tiers()
    assert tiers.of("free") == Allowance(30 * MINUTE, 1)
    assert tiers.of("standard") == Allowance(300 * MINUTE, 3)
    assert tiers.of("premium") == Allowance(None, 10)
    assert tiers.of("local") == Allowance(None, None)


def test_a_tier_that_nobody_defined_has_the_least() -> None:
    assert Tiers().over({"free": {"daily_minutes": 5}}).of("gold") == Allowance(5 * MINUTE, 1)


def test_changes_change_what_they_name_and_make_new_tiers() -> None:
    tiers = Tiers().over({"standard": {"daily_minutes": 0.5}, "team": {"concurrent_streams": 7}})
    assert tiers.of("standard") == Allowance(MINUTE // 2, 3)
    assert tiers.of("team") == Allowance(None, 7)
    assert tiers.of("free") == Tiers().of("free")


@pytest.mark.parametrize("unlimited", ["null", '"unlimited"', '"None"', "-1", '"-1"'])
def test_no_limit_may_be_written_in_several_ways(unlimited: str) -> None:
    assert read_tiers(f'{{"Free": {{"daily_minutes": {unlimited}}}}}') == {"free": {"daily_minutes": None}}


def test_numbers_may_be_written_as_text_and_what_others_keep_there_is_passed_over() -> None:
    read = read_tiers({"free": {"daily_minutes": "1.5", "concurrent_streams": 2, "concurrent_jobs": 1}})
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
def test_what_cannot_be_used_is_told_by_name(written: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read_tiers(written)


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
def test_a_line_of_the_file_names_its_tier(name: str, means: tuple[str, str] | None) -> None:
    assert tier_key(name) == means


@pytest.mark.parametrize(
    "limit",
    ["nan", "-nan", "inf", "1e309", "1e305", "1000001", "-0.5", True, "0x10", [], {}, 10**400, "9" * 400],
)
def test_a_number_that_cannot_be_counted_is_no_limit(limit: object) -> None:
    for key in ("daily_minutes", "concurrent_streams"):
        with pytest.raises(ValueError, match=f"free_{key} should be"):
            read_tiers({"free": {key: limit}})


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "{" * 10 + "NaN"])
def test_json_that_is_a_bomb_is_no_json(bomb: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|look like"):
        read_tiers(bomb)


def test_the_highest_limits_are_whole_microseconds() -> None:
    highest = Tiers().over(read_tiers({"free": {"daily_minutes": 1e6, "concurrent_streams": "1000000"}}))
    assert highest.of("free") == Allowance(60_000_000_000_000, 1_000_000)

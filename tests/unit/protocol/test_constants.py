"""Tests of the protocol's constants."""

from __future__ import annotations

import pytest

from echoic.errors import CLOSE_CODES, ErrorCode
from echoic.protocol import constants
from echoic.protocol.constants import to_speaker_label


@pytest.mark.parametrize(
    ("speaker_id", "label"), [(0, "SPEAKER_00"), (7, "SPEAKER_07"), (100, "SPEAKER_100")]
)
def test_a_speaker_label_has_at_least_two_digits(speaker_id: int, label: str) -> None:
    assert to_speaker_label(speaker_id) == label


def test_close_codes_agree_with_the_table_of_errors() -> None:
    assert CLOSE_CODES[ErrorCode.INTERNAL_ERROR] == constants.CLOSE_INTERNAL_ERROR
    assert CLOSE_CODES[ErrorCode.IDLE_TIMEOUT] == constants.CLOSE_GOING_AWAY
    not_errors = {constants.CLOSE_NORMAL, constants.CLOSE_ABNORMAL, constants.CLOSE_RESUMED_ELSEWHERE}
    assert not not_errors & set(CLOSE_CODES.values())


def test_paths_are_absolute_and_unique() -> None:
    paths = [constants.STREAM_PATH, constants.STATUS_PATH, constants.LIMITS_PATH, constants.CORE_PATH]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("/") and not path.endswith("/") for path in paths)

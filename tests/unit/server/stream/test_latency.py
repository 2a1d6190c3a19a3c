from __future__ import annotations

import pytest

from echoic.server.stream.flow_control import LatencyMonitor, WaterMarks

SECOND = 1_000_000


def lag() -> LatencyMonitor:
    return LatencyMonitor(WaterMarks(4.0, 2.0))


def test_a_final_that_is_due_is_as_late_as_it_is_due() -> None:
    one = lag()
    one.record_progress(2 * SECOND, 0, 10.0)
    assert [one.compute_lag(now) for now in (10.0, 11.5)] == [0.0, 1.5]
    one.record_progress(4 * SECOND, 2 * SECOND, 13.0)
    assert one.compute_lag(13.0) == 3.0


def test_falling_behind_is_said_once_until_it_is_over() -> None:
    one = lag()
    one.record_progress(SECOND, 0, 100.0)
    assert [one.detect_falling_behind(now) for now in (103.0, 104.5, 105.0)] == [False, True, False]
    one.record_progress(2 * SECOND, SECOND, 105.0)
    assert (one.is_behind, one.detect_falling_behind(105.0)) == (True, False)
    one.record_progress(2 * SECOND, 2 * SECOND, 106.0)  # 1 s late; the one before was 5 s late, a second ago
    assert one.detect_falling_behind(106.0) is False
    assert one.is_behind is False
    one.record_progress(3 * SECOND, 2 * SECOND, 200.0)
    assert one.detect_falling_behind(204.5) is True


def test_between_the_marks_nothing_changes() -> None:
    one = lag()
    one.record_progress(SECOND, 0, 0.0)
    assert one.detect_falling_behind(3.0) is False
    assert one.detect_falling_behind(4.1) is True
    one.record_progress(2 * SECOND, SECOND, 4.1)
    one.record_progress(2 * SECOND, 2 * SECOND, 7.1)  # 3 s late
    one.detect_falling_behind(7.1)
    assert one.is_behind


def test_audio_that_comes_faster_than_real_time_is_due_as_it_plays() -> None:
    one = lag()
    for number in range(1, 21):  # 30 s at once, decoded in 10 s
        one.record_progress(round(number * 1.5 * SECOND), 0, 50.0)
    for number in range(1, 21):
        now = 50.0 + number * 0.5
        one.record_progress(30 * SECOND, round(number * 1.5 * SECOND), now)
        assert one.detect_falling_behind(now) is False
    assert one.compute_lag(60.0) == 0


def test_decoding_slower_than_real_time_falls_behind_however_the_audio_came() -> None:
    one = lag()
    for number in range(1, 21):
        one.record_progress(round(number * 1.5 * SECOND), 0, 50.0)
    fell = 0
    for number in range(1, 21):  # half of real time
        now = 50.0 + number * 3
        one.record_progress(30 * SECOND, round(number * 1.5 * SECOND), now)
        fell += one.detect_falling_behind(now)
    assert fell == 1


def test_when_nothing_is_due_any_more_the_lag_is_over_in_as_much_time() -> None:
    one = lag()
    one.record_progress(SECOND, 0, 0.0)
    one.record_progress(SECOND, SECOND, 6.0)
    assert one.detect_falling_behind(6.0) is True
    assert one.next_check_at == pytest.approx(10.0)
    assert one.detect_falling_behind(10.0) is False
    assert one.is_behind is False
    assert one.next_check_at is None


def test_partials_grow_rarer_with_each_quarter_of_the_mark() -> None:
    one = lag()
    one.record_progress(SECOND, 0, 0.0)
    assert [one.compute_partial_pace(now) for now in (0.0, 0.9, 1.0, 2.0, 3.0, 4.0, 100.0)] == [
        1,
        1,
        2,
        4,
        8,
        16,
        64,
    ]
    one.record_progress(SECOND, SECOND, 100.0)
    assert one.compute_partial_pace(200.0) == 1

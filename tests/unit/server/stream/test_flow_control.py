from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.server.stream.flow_control import Hysteresis, TotalBacklog, WaterMarks

NOTES = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)))


def test_a_level_is_high_from_the_high_mark_down_to_the_low_one() -> None:
    level, marks = Hysteresis(), WaterMarks(3.0, 2.0)
    assert [level.update_level(now, marks) for now in (1, 3, 3.1, 2.5, 2.1, 2, 2.5, 3, 4)] == [
        *(False, False, True, True, True),
        *(False, False, False, True),
    ]


def test_marks_under_a_ceiling_keep_their_proportion() -> None:
    marks = WaterMarks(30.0, 20.0)
    assert marks.cap_at(float("inf")) is marks
    assert marks.cap_at(3.0) == WaterMarks(3.0, 2.0)


@given(NOTES)
def test_waters_are_the_sum_of_what_was_noted_last(notes: list[tuple[str, float]]) -> None:
    waters = TotalBacklog(WaterMarks(60.0, 30.0))
    last: dict[str, float] = {}
    high = False
    for stream, seconds in notes:
        waters.update_stream(stream, seconds)
        last[stream] = seconds
        total = sum(last.values())
        assert abs(waters.seconds - total) < 1e-6
        if abs(total - 60.0) > 1e-3 and abs(total - 30.0) > 1e-3:
            high = total > (30.0 if high else 60.0)
            assert waters.is_high is high
        else:
            high = waters.is_high


def test_while_the_waters_are_high_each_stream_has_an_equal_share() -> None:
    waters = TotalBacklog(WaterMarks(10.0, 6.0))
    for stream in "ab":
        waters.update_stream(stream, 5.0)
    assert waters.seconds_per_stream == float("inf")
    waters.update_stream("c", 1.0)
    assert waters.seconds_per_stream == 2.0
    waters.update_stream("b", 0.0)
    assert waters.seconds_per_stream == float("inf")
    assert waters.seconds == 6.0

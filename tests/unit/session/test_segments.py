"""The arithmetic of protocol.md, section 4."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.session.segments import SegmentClock, SegmentSpan


def _ends(segments: SegmentClock, samples: int) -> list[int]:
    ends = []
    while segments.next_end <= samples:
        segments.consumed = segments.next_end
        ends.append(segments.close_segment().end)
    return ends


def test_windows_end_at_the_chunk_and_then_every_chunk_less_overlap() -> None:
    segments = SegmentClock(16_000, 2.0, 0.5)
    assert [end / 16_000 for end in _ends(segments, 8 * 16_000)] == [2.0, 3.5, 5.0, 6.5, 8.0]


def test_an_overlap_never_reaches_behind_the_beginning() -> None:
    segments = SegmentClock(10, 1.0, 0.8)
    segments.consumed = 3
    assert segments.close_segment() == SegmentSpan(0, 0, 3)
    segments.consumed = 5
    assert segments.close_segment() == SegmentSpan(0, 3, 5)


def test_after_an_early_end_the_next_window_is_counted_from_there() -> None:
    segments = SegmentClock(10, 1.0, 0.2)
    segments.consumed = 4
    segments.close_segment()
    assert segments.next_end == 12


def test_a_stretch_that_begins_later_keeps_the_clock() -> None:
    segments = SegmentClock(8_000, 2.0, 0.5, base=3.25)
    assert segments.next_end == 12_000
    segments.consumed = 12_000
    span = segments.close_segment()
    assert (segments.to_seconds(span.start), segments.to_seconds(span.end)) == (3.25, 4.75)
    assert segments.to_duration(span.start - span.context) == 0.5


@given(
    rate=st.integers(8_000, 192_000),
    chunk=st.floats(0.2, 60),
    share=st.floats(0, 0.99),
    count=st.integers(1, 20),
)
def test_every_sample_is_new_exactly_once(rate: int, chunk: float, share: float, count: int) -> None:
    segments = SegmentClock(rate, chunk, chunk * share)
    end = 0
    for _ in range(count):
        segments.consumed = segments.next_end
        span = segments.close_segment()
        assert span.start == end < span.end
        assert 0 <= span.context <= span.start
        end = span.end

"""Tests of segment positions, docs/protocol.md section 4."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.session.segments import SegmentClock, SegmentSpan


def _ends(clock: SegmentClock, samples: int) -> list[int]:
    ends = []
    while clock.next_end <= samples:
        clock.consumed = clock.next_end
        ends.append(clock.close_segment().end)
    return ends


def test_segments_end_after_a_chunk_then_chunk_minus_overlap() -> None:
    clock = SegmentClock(16_000, 2.0, 0.5)
    assert [end / 16_000 for end in _ends(clock, 8 * 16_000)] == [2.0, 3.5, 5.0, 6.5, 8.0]


def test_an_overlap_never_reaches_before_the_start() -> None:
    clock = SegmentClock(10, 1.0, 0.8)
    clock.consumed = 3
    assert clock.close_segment() == SegmentSpan(0, 0, 3)
    clock.consumed = 5
    assert clock.close_segment() == SegmentSpan(0, 3, 5)


def test_the_next_segment_counts_from_an_early_end() -> None:
    clock = SegmentClock(10, 1.0, 0.2)
    clock.consumed = 4
    clock.close_segment()
    assert clock.next_end == 12


def test_a_later_pipeline_continues_the_clock() -> None:
    clock = SegmentClock(8_000, 2.0, 0.5, base=3.25)
    assert clock.next_end == 12_000
    clock.consumed = 12_000
    span = clock.close_segment()
    assert (clock.to_seconds(span.start), clock.to_seconds(span.end)) == (3.25, 4.75)
    assert clock.to_duration(span.start - span.context) == 0.5


@given(
    rate=st.integers(8_000, 192_000),
    chunk=st.floats(0.2, 60),
    ratio=st.floats(0, 0.99),
    count=st.integers(1, 20),
)
def test_every_sample_is_new_exactly_once(rate: int, chunk: float, ratio: float, count: int) -> None:
    clock = SegmentClock(rate, chunk, chunk * ratio)
    end = 0
    for _ in range(count):
        clock.consumed = clock.next_end
        span = clock.close_segment()
        assert span.start == end < span.end
        assert 0 <= span.context <= span.start
        end = span.end

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echoic.server.stream.flow_control import TokenBucket


def test_what_the_bucket_holds_is_had_at_once_and_then_the_rate_counts() -> None:
    bucket = TokenBucket(10.0, 20.0)
    for _ in range(20):
        assert bucket.compute_wait(5.0) == 0
        bucket.take_tokens(1, 5.0)
    assert bucket.compute_wait(5.0) == 0  # what is there may be taken to the last
    bucket.take_tokens(1, 5.0)
    assert 0.1 < bucket.compute_wait(5.0) < 0.2
    assert bucket.compute_wait(5.2) == 0


def test_one_big_piece_is_taken_whole_and_waited_for_afterwards() -> None:
    bucket = TokenBucket(10.0, 20.0)
    bucket.take_tokens(120, 0.0)
    assert 10.0 < bucket.compute_wait(0.0) < 10.1


def test_without_a_rate_there_is_no_limit() -> None:
    bucket = TokenBucket(0.0, 0.0)
    bucket.take_tokens(1e9, 1.0)
    assert bucket.compute_wait(1.0) == 0


@given(st.lists(st.floats(0, 50), min_size=1), st.floats(1, 100))
def test_whoever_waits_as_told_never_exceeds_size_and_rate(pieces: list[float], rate: float) -> None:
    bucket = TokenBucket(rate, 20.0)
    now = taken = 0.0
    for piece in pieces:
        now += bucket.compute_wait(now)
        assert taken <= 20.0 + rate * now + 1e-6
        bucket.take_tokens(piece, now)
        taken += piece

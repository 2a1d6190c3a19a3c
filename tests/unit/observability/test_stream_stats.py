"""Lag and counts of one stream."""

from __future__ import annotations

import pytest

from echoic.errors import ErrorCode
from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.observability.metrics import Metrics
from echoic.observability.stream_stats import StreamStats
from echoic.protocol.frames import Commit, Error, Final, Partial, Reset

RATE = 16_000


class Stream:
    """A stream with a clock that only the test moves."""

    def __init__(self, right_context: float = 0.0) -> None:
        self.metrics = Metrics()
        self.now = 0.0
        self.stats = StreamStats(self.metrics, clock=lambda: self.now)
        requirements = EngineRequirements("stateful", right_context=right_context)
        self.stats.on_model_opened(OpenedModel("m", requirements))

    def receive(self, seconds: float) -> None:
        self.stats.grant_samples(round(seconds * RATE), RATE)

    def receive_in_real_time(self, until: float, pieces: float = 0.1) -> None:
        """Receive audio in real time."""
        while self.now < until - 1e-9:
            self.now += pieces
            self.receive(pieces)

    def lag(self, kind: str) -> tuple[float, float]:
        """Return the number of measured lags and their sum in milliseconds."""
        name = f"echoic_{kind}_lag_seconds"
        value = self.metrics.registry.get_sample_value
        seconds = value(f"{name}_sum", {"model": "m"}) or 0.0
        return value(f"{name}_count", {"model": "m"}) or 0, round(1000 * seconds, 6)


def final(end: float) -> Final:
    return Final(
        text="",
        segment_id=1,
        segment_start=0,
        segment_end=end,
        chunk_duration=0,
        overlap=0,
        chunk_start=0,
        chunk_end=end,
        new_audio_duration=0,
        cumulative_audio=end,
    )


def partial(end: float) -> Partial:
    return Partial(
        text="", segment_id=1, segment_start=0, segment_end=end, buffer_duration=0, cumulative_audio=0
    )


def test_a_final_lags_behind_the_audio_that_completed_its_window() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=2.3)
    stream.stats.count_sent(final(2.0))
    assert stream.lag("final") == (1, 300)


def test_right_context_is_not_lag() -> None:
    stream = Stream(right_context=0.8)
    stream.receive_in_real_time(until=3.0)
    stream.stats.count_sent(final(2.0))
    assert stream.lag("final") == (1, 200)


@pytest.mark.parametrize("right_context", [0.0, 0.8])
def test_a_final_after_a_commit_lags_behind_the_commit(right_context: float) -> None:
    stream = Stream(right_context=right_context)
    stream.receive_in_real_time(until=1.0)
    stream.now = 10.0
    stream.stats.count_received(Commit())
    stream.now = 10.2
    stream.stats.count_sent(final(1.0))
    assert stream.lag("final") == (1, 200)


def test_a_later_commit_does_not_shorten_an_earlier_lag() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=3.0, pieces=1.0)
    stream.now = 4.0
    stream.stats.count_received(Commit())
    stream.stats.count_sent(final(2.0))
    assert stream.lag("final") == (1, 2000)


def test_partials_have_a_lag_of_their_own() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=1.5)
    stream.stats.count_sent(partial(1.0))
    stream.stats.count_sent(partial(1.5))
    assert stream.lag("partial") == (2, 500)
    assert stream.lag("final") == (0, 0)


def test_the_lag_of_tiny_messages_is_50_ms_too_high_at_most() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=100.0, pieces=0.01)
    stream.stats.count_sent(final(99.0))
    count, lag = stream.lag("final")
    assert count == 1
    assert 1000 <= lag <= 1050


def test_a_reset_begins_at_zero_again() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=5.0)
    stream.stats.count_received(Reset())
    stream.now = 8.0
    stream.receive(2.0)
    stream.now = 8.1
    stream.stats.count_sent(final(2.0))
    assert stream.lag("final") == (1, 100)


def test_a_final_without_its_audio_has_no_lag() -> None:
    stream = Stream()
    stream.receive(1.0)
    stream.stats.count_sent(final(2.0))
    assert stream.lag("final") == (0, 0)


def test_the_summary_tells_audio_finals_and_reason() -> None:
    stream = Stream()
    stream.receive_in_real_time(until=2.0)
    stream.stats.count_sent(final(2.0))
    stream.stats.count_sent(Error(code=ErrorCode.IDLE_TIMEOUT, message=""))
    counts = {"model": "m", "heard": 2.0, "finals": 1}
    assert stream.stats.summarize_end(1001) == {**counts, "code": 1001, "reason": "idle_timeout"}
    assert stream.stats.summarize_end(1006) == {**counts, "code": 1006, "reason": None}


def test_refused_audio_is_not_counted() -> None:
    metrics = Metrics()
    stats = StreamStats(metrics, lambda samples, _: samples // 2)
    stats.on_model_opened(OpenedModel("m", EngineRequirements("stateful")))
    assert stats.grant_samples(RATE, RATE) == RATE // 2
    assert metrics.registry.get_sample_value("echoic_audio_seconds_total", {"model": "m"}) == 0.5
    assert StreamStats(metrics, lambda _, __: None).grant_samples(RATE, RATE) is None


def test_dropped_partials_are_counted() -> None:
    stream = Stream()
    stream.stats.count_dropped_partials(3)
    assert stream.metrics.registry.get_sample_value("echoic_partials_dropped_total") == 3

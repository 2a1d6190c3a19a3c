from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from echoic.errors import ErrorCode
from echoic.interfaces.engine import EngineRequirements, OpenedModel
from echoic.observability.metrics import Metrics
from echoic.observability.stream_stats import StreamStats
from echoic.protocol.frames import Commit, Error, Final, Partial, Reset, Warning  # noqa: A004  # the protocol's word

RATE = 16_000


class Stream:
    """One stream whose time passes only when it is told to."""

    def __init__(self, right: float = 0.0) -> None:
        self.metrics = Metrics()
        self.now = 0.0
        self.tally = StreamStats(self.metrics, clock=lambda: self.now)
        self.tally.on_model_opened(OpenedModel("m", EngineRequirements("stateful", right_context=right)))

    def hear(self, seconds: float) -> None:
        self.tally.grant_samples(round(seconds * RATE), RATE)

    def speak(self, until: float, pieces: float = 0.1) -> None:
        """Hear audio as time passes."""
        while self.now < until - 1e-9:
            self.now += pieces
            self.hear(pieces)

    def lag(self, kind: str) -> tuple[float, float]:
        """Return how many lags were counted, and their sum in milliseconds."""
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
    stream.speak(until=2.3)
    stream.tally.count_sent(final(2.0))
    assert stream.lag("final") == (1, 300)


def test_context_that_a_model_waits_for_is_not_lag() -> None:
    stream = Stream(right=0.8)
    stream.speak(until=3.0)
    stream.tally.count_sent(final(2.0))
    assert stream.lag("final") == (1, 200)


@pytest.mark.parametrize("right", [0.0, 0.8])
def test_a_final_that_a_commit_asked_for_lags_behind_the_commit(right: float) -> None:
    stream = Stream(right=right)
    stream.speak(until=1.0)
    stream.now = 10.0
    stream.tally.count_received(Commit())
    stream.now = 10.2
    stream.tally.count_sent(final(1.0))
    assert stream.lag("final") == (1, 200)


def test_a_commit_later_does_not_make_an_earlier_final_look_quick() -> None:
    stream = Stream()
    stream.speak(until=3.0, pieces=1.0)
    stream.now = 4.0
    stream.tally.count_received(Commit())
    stream.tally.count_sent(final(2.0))
    assert stream.lag("final") == (1, 2000)


def test_partials_are_counted_by_themselves_and_as_often_as_they_come() -> None:
    stream = Stream()
    stream.speak(until=1.5)
    stream.tally.count_sent(partial(1.0))
    stream.tally.count_sent(partial(1.5))
    assert stream.lag("partial") == (2, 500)
    assert stream.lag("final") == (0, 0)


def test_tiny_messages_are_told_to_a_twentieth_of_a_second_and_silence_costs_no_memory() -> None:
    stream = Stream()
    stream.speak(until=100.0, pieces=0.01)
    stream.tally.count_sent(final(99.0))
    count, lag = stream.lag("final")
    assert count == 1
    assert 1000 <= lag <= 1050


def test_a_reset_begins_at_zero_again() -> None:
    stream = Stream()
    stream.speak(until=5.0)
    stream.tally.count_received(Reset())
    stream.now = 8.0
    stream.hear(2.0)
    stream.now = 8.1
    stream.tally.count_sent(final(2.0))
    assert stream.lag("final") == (1, 100)


def test_words_of_audio_that_nobody_remembers_are_not_counted() -> None:
    stream = Stream()
    stream.hear(1.0)
    stream.tally.count_sent(final(2.0))
    assert stream.lag("final") == (0, 0)


def test_the_end_says_what_was_heard_and_why_it_ended() -> None:
    stream = Stream()
    stream.speak(until=2.0)
    stream.tally.count_sent(final(2.0))
    stream.tally.count_sent(Error(code=ErrorCode.IDLE_TIMEOUT, message=""))
    said = {"model": "m", "heard": 2.0, "finals": 1}
    assert stream.tally.summarize_end(1001) == {**said, "code": 1001, "reason": "idle_timeout"}
    assert stream.tally.summarize_end(1006) == {**said, "code": 1006, "reason": None}


def test_what_may_not_be_heard_is_not_counted() -> None:
    metrics = Metrics()
    tally = StreamStats(metrics, lambda samples, _: samples // 2)
    tally.on_model_opened(OpenedModel("m", EngineRequirements("stateful")))
    assert tally.grant_samples(RATE, RATE) == RATE // 2
    assert metrics.registry.get_sample_value("echoic_audio_seconds_total", {"model": "m"}) == 0.5
    assert StreamStats(metrics, lambda _, __: None).grant_samples(RATE, RATE) is None


def test_whatever_clients_send_there_are_so_many_series_and_no_more() -> None:
    metrics = Metrics()

    def series() -> int:
        text = metrics.render_text().decode()
        samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
        return sum(not one.name.endswith("_created") for one in samples)

    metrics.count_close(4999)
    before = series()
    for code in range(3000, 5000):
        metrics.count_close(code)
    assert series() - before == 4  # 4003, 4401, 4403, 4404: the server's own
    assert metrics.registry.get_sample_value("echoic_closes_total", {"code": "other"}) == 1997


def test_warnings_are_counted_by_code() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    assert value("echoic_warnings_total", {"code": "falling_behind"}) == 0
    metrics.count_sent(Warning(code="falling_behind", message=""))
    assert value("echoic_warnings_total", {"code": "falling_behind"}) == 1


def test_partials_that_a_slow_client_did_not_get_are_counted() -> None:
    stream = Stream()
    stream.tally.count_dropped_partials(3)
    assert stream.metrics.registry.get_sample_value("echoic_partials_dropped_total") == 3

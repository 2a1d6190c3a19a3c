from __future__ import annotations

from collections.abc import Sequence

import pytest

from echoic.engines.scripted import ScriptedEngine
from echoic.errors import DecodeFailed
from echoic.interfaces.engine import Hypothesis, Window
from echoic.scheduling.health import EngineHealth, HealthPolicy, can_decode_silence


class BrokenEngine(ScriptedEngine):
    def decode(self, windows: Sequence[Window]) -> list[Hypothesis]:
        raise SystemExit(len(windows))


def create_health() -> EngineHealth:
    return EngineHealth(ScriptedEngine(), HealthPolicy(ScriptedEngine, reload_interval=300))


def test_the_first_incident_asks_for_a_reload() -> None:
    health = create_health()
    assert health.is_ready
    health.report_incident(now=5.0)
    assert health.needs_reload
    assert not health.is_ready


def test_a_reload_replaces_the_engine() -> None:
    health, engine = create_health(), ScriptedEngine()
    health.report_incident(now=5.0)
    health.finish_reload(engine, now=6.0)
    assert health.engine is engine
    assert health.is_ready


@pytest.mark.parametrize(("seconds", "is_unavailable"), [(299.0, True), (301.0, False)])
def test_the_next_incident_counts_for_a_limited_time(seconds: float, *, is_unavailable: bool) -> None:
    health = create_health()
    health.report_incident(now=5.0)
    health.finish_reload(ScriptedEngine(), now=10.0)
    health.report_incident(now=10.0 + seconds)
    assert (health.is_unavailable, health.needs_reload) == (is_unavailable, not is_unavailable)


def test_an_engine_that_may_not_be_reloaded_is_unavailable() -> None:
    health = create_health()
    health.report_incident(now=5.0, can_reload=False)
    assert health.is_unavailable


def test_without_a_loader_the_first_incident_is_the_last() -> None:
    health = EngineHealth(ScriptedEngine(), HealthPolicy())
    health.report_incident(now=5.0)
    assert health.is_unavailable
    assert not health.is_ready


def test_a_reload_that_fails_makes_the_model_unavailable() -> None:
    health = create_health()
    health.report_incident(now=5.0)
    health.finish_reload(None, now=6.0)
    assert health.is_unavailable
    assert not health.needs_reload


def test_failures_in_a_row_ask_for_a_test() -> None:
    health = create_health()
    assert not health.record_outcomes([DecodeFailed()])
    assert health.record_outcomes([DecodeFailed()])
    assert health.record_outcomes([DecodeFailed(), DecodeFailed()])


def test_a_success_ends_the_row_of_failures() -> None:
    health = create_health()
    assert not health.record_outcomes([DecodeFailed()])
    assert not health.record_outcomes([DecodeFailed(), Hypothesis()])
    assert not health.record_outcomes([DecodeFailed()])


def test_silence_tells_a_broken_engine_from_a_working_one() -> None:
    assert can_decode_silence(ScriptedEngine())
    assert not can_decode_silence(BrokenEngine())


def test_hangs_are_looked_for_several_times_per_timeout() -> None:
    assert HealthPolicy(decode_timeout=2.0).check_interval == 0.5
    assert HealthPolicy(decode_timeout=120.0).check_interval == 5.0

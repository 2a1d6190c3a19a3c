"""The limits and services of streams at their defaults."""

from __future__ import annotations

from echoic.engines.registry import Registry
from echoic.observability.metrics import Metrics
from echoic.scheduling.engine_pool import EnginePool
from echoic.server.stream.admission import StreamAdmission
from echoic.server.stream.services import StreamLimits, StreamServices


def test_default_water_marks_have_hysteresis() -> None:
    limits = StreamLimits()
    for marks in (limits.backlog, limits.lag_marks):
        assert 0 < marks.low < marks.high


def test_two_servers_share_no_state_by_default() -> None:
    first, second = (
        StreamServices(EnginePool(Registry([])), Metrics(), StreamLimits(), StreamAdmission(1))
        for _ in range(2)
    )
    assert first.total_backlog is not second.total_backlog
    assert first.resume_registry is not second.resume_registry
    assert first.vocabulary is not second.vocabulary

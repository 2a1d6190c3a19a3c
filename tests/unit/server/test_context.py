from __future__ import annotations

from echoic.server.context import ModelReadiness


async def test_a_new_server_is_not_ready() -> None:
    readiness = ModelReadiness()
    assert readiness.waits_for == "The server is starting."
    assert not readiness.settled.is_set()


async def test_a_loaded_model_makes_the_server_ready() -> None:
    readiness = ModelReadiness()
    readiness.mark_settled()
    assert readiness.waits_for is None
    assert readiness.settled.is_set()


async def test_a_failed_model_settles_with_its_problem() -> None:
    readiness = ModelReadiness()
    readiness.mark_settled("Its weights are missing.")
    assert readiness.waits_for == "Its weights are missing."
    assert readiness.settled.is_set()

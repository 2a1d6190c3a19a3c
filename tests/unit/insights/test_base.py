from __future__ import annotations

from echoic.insights.base import InsightFailed


def test_a_failure_carries_its_message() -> None:
    failure = InsightFailed("The language model did not answer.")
    assert failure.message == str(failure) == "The language model did not answer."

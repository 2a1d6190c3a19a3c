from __future__ import annotations

import pytest
from pydantic import ValidationError

from echoic.server.settings.server_section import ServerSettings


def test_low_water_marks_default_to_a_share_of_the_high_ones() -> None:
    settings = ServerSettings(max_backlog_seconds=20, max_total_backlog_seconds=100)
    assert (settings.backlog_marks.high, settings.backlog_marks.low) == (20, 15)
    assert (settings.total_backlog_marks.high, settings.total_backlog_marks.low) == (100, 50)
    assert ServerSettings(low_backlog_seconds=1).backlog_marks.low == 1


@pytest.mark.parametrize(
    "given",
    [{"port": 65_536}, {"host": ""}, {"log_level": "loud"}, {"traces_share": 1.5}, {"worker_threads": 0}],
)
def test_values_out_of_range_are_rejected(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServerSettings.model_validate(given)

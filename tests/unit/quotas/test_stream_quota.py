from __future__ import annotations

import pytest

from echoic.quotas.stream_quota import build_streams_refusal


@pytest.mark.parametrize(
    ("limit", "active", "beginning"),
    [
        (1, 1, "There may be 1 stream at the same time, and there is 1. "),
        (3, 3, "There may be 3 streams at the same time, and there are 3. "),
    ],
)
def test_streams_are_counted_as_people_count(limit: int, active: int, beginning: str) -> None:
    refused = build_streams_refusal(limit, active)
    assert refused.message.startswith(beginning)
    assert refused.detail == {"quota": "concurrent_streams", "limit": limit, "used": active}

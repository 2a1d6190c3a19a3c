"""Constants of the wire protocol: endpoint paths, WebSocket close codes, speaker labels."""

from __future__ import annotations

from typing import Final

#: The stream endpoint, with authentication and fallback.
STREAM_PATH: Final = "/api/v1/audio/stream/transcribe"
#: The models and add-ons that the server has.
STATUS_PATH: Final = "/api/v1/audio/stream/status"
#: The quotas of the user who asks.
LIMITS_PATH: Final = "/api/v1/audio/stream/limits"
#: The stream endpoint without authentication and without fallback.
CORE_PATH: Final = "/core/parakeet/stream"

# Close codes that go with an ``error`` frame are in ``echoic.errors.CLOSE_CODES``.

#: The stream ended as the client asked.
CLOSE_NORMAL: Final = 1000
#: The server stops; it has delivered the results of all audio it received.
CLOSE_GOING_AWAY: Final = 1001
#: The connection was lost without a close frame. Reserved: never sent.
CLOSE_ABNORMAL: Final = 1006
#: The server failed.
CLOSE_INTERNAL_ERROR: Final = 1011
#: Another connection resumed the session.
CLOSE_RESUMED_ELSEWHERE: Final = 4409


def to_speaker_label(speaker_id: int) -> str:
    """Return the label of a speaker, such as ``SPEAKER_00``; ids count from 0."""
    return f"SPEAKER_{speaker_id:02d}"

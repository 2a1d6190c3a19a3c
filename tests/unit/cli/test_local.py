from __future__ import annotations

import os
from typing import TYPE_CHECKING

from echoic.cli.local import load_local_settings

if TYPE_CHECKING:
    import pytest


def test_a_server_for_one_command_spares_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ECHOIC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ECHOIC_MAX_AUDIO_RATE", "2")
    settings = load_local_settings()
    assert (settings.server.max_audio_rate, settings.server.max_messages_per_second) == (0, 0)
    assert settings.server.max_stream_seconds == 0
    assert settings.auth.is_key_required is False

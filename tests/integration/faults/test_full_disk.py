"""A full disk: key store, log, recordings."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from echoic.client import ServerError
from echoic.engines.scripted import draw_words
from support.builders import make_key_in
from support.server_process import ServerProcess
from support.stream_audio import stream_audio

if TYPE_CHECKING:
    from pathlib import Path

AUDIO = draw_words(["one", "two", "three", "four", "five"] * 4)
TEXT = " ".join(["one two three four five"] * 4)

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")


def limit_file_size(server: ServerProcess, size: int = 0) -> None:
    """Limit the size of all files that a running server writes, in bytes."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, size))


async def test_an_unwritable_key_store_still_authenticates(tmp_path: Path) -> None:
    file = tmp_path / "keys.db"
    key = await make_key_in(file)
    with ServerProcess(keys_db=str(file)) as server:
        address = server.address
        limit_file_size(server)
        received = await stream_audio(f"ws://{address}", AUDIO, key=key.text)
        with pytest.raises(ServerError, match="key"):
            await stream_audio(f"ws://{address}", AUDIO, key=key.text + "x")
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert received.text == TEXT
    assert received.errors == []
    assert code == 0
    assert "Traceback" not in log
    assert key.text not in log


async def test_an_unwritable_log_stops_no_stream() -> None:
    with ServerProcess(log_level="debug") as server:
        address = server.address
        limit_file_size(server)
        for _ in range(3):
            received = await stream_audio(f"ws://{address}", AUDIO)
            assert received.text == TEXT
        server.process.send_signal(signal.SIGTERM)
        code, log = server.wait_for_exit()
    assert code == 0
    assert "stream.closed" not in log


async def test_an_unwritable_recording_costs_a_warning_and_no_word(tmp_path: Path) -> None:
    options = {"enabled": True, "store_audio": True}
    with ServerProcess(speakers_audio_dir=str(tmp_path), speakers_diarizer="scripted") as server:
        address = server.address
        unbroken = await stream_audio(f"ws://{address}", AUDIO, diarization=options)
        assert unbroken.warnings == []

        async def fault(number: int) -> None:
            if number == 20:
                limit_file_size(server, 44 + 32_000)  # a second

        received = await stream_audio(f"ws://{address}", AUDIO, fault, diarization=options)
    assert received.finals == unbroken.finals
    assert received.transcripts == unbroken.transcripts
    assert received.warnings == ["audio_persistence_unavailable"]

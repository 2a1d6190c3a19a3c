from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from echoic.cli.local import load_local_settings, run_local_server


def test_a_local_server_has_no_limits_and_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOIC_MAX_AUDIO_RATE", "2")
    monkeypatch.setenv("ECHOIC_API_KEY", "s3cret")
    settings = load_local_settings()
    assert (settings.server.max_audio_rate, settings.server.max_messages_per_second) == (0, 0)
    assert settings.server.max_stream_seconds == 0
    assert settings.auth.is_key_required is False


def test_a_local_server_runs_inside_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOIC_SCRIPTED_ENGINE", "yes")
    with run_local_server() as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        assert (host, port is not None) == ("127.0.0.1", True)
        socket.create_connection((host, port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port)).close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("echoic.cli.local.EchoicServer.run", fail)
    with pytest.raises(RuntimeError, match="did not start"), run_local_server():
        pytest.fail("unreachable")

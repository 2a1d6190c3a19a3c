"""Tests of resolving addresses."""

from __future__ import annotations

import pytest

from echoic.client.address import redact_address, resolve_status_url, resolve_stream_url

ENDPOINT = "/api/v1/audio/stream/transcribe"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("localhost:8000", f"ws://localhost:8000{ENDPOINT}"),
        ("ws://h:1", f"ws://h:1{ENDPOINT}"),
        ("http://h:1/", f"ws://h:1{ENDPOINT}"),
        ("https://h", f"wss://h{ENDPOINT}"),
        ("wss://h/core/parakeet/stream?token=k", "wss://h/core/parakeet/stream?token=k"),
        ("[::1]:8000", f"ws://[::1]:8000{ENDPOINT}"),
    ],
)
def test_short_addresses_are_completed(written: str, meant: str) -> None:
    assert resolve_stream_url(written) == meant


@pytest.mark.parametrize("written", ["", "ftp://h", "ws://", "/home/x", "ws://[h", "h:port", "h:99999"])
def test_a_bad_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        resolve_stream_url(written)


def test_a_redacted_address_has_no_key() -> None:
    assert redact_address("ws://user:key@h:1/x?token=key#key") == "ws://h:1/x"
    assert (
        resolve_status_url("wss://h/core/parakeet/stream?token=key") == "https://h/api/v1/audio/stream/status"
    )

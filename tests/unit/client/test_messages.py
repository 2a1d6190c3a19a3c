from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.client import resolve_stream_url
from echoic.client.address import redact_address, resolve_status_url
from echoic.client.messages import MAX_MESSAGE_SAMPLES, encode_samples, parse_frame

ENDPOINT = "/api/v1/audio/stream/transcribe"


@given(st.integers(0, 3 * MAX_MESSAGE_SAMPLES))
def test_samples_of_any_length_come_out_whole_and_in_bounded_messages(count: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    messages = list(encode_samples(samples))
    assert b"".join(messages) == samples.tobytes()
    assert all(0 < len(message) <= 4 * MAX_MESSAGE_SAMPLES for message in messages)


def test_channels_are_averaged_and_other_floats_converted() -> None:
    (message,) = encode_samples(np.array([[1.0, 0.0], [-0.5, -0.5]]))
    assert np.frombuffer(message, "<f4").tolist() == [0.5, -0.5]
    (message,) = encode_samples(np.array([0.25, 0.5], dtype=np.float16)[::-1])
    assert np.frombuffer(message, "<f4").tolist() == [0.5, 0.25]
    (message,) = encode_samples(np.array([0.25], dtype=">f4"))
    assert np.frombuffer(message, "<f4").tolist() == [0.25]


def test_integers_are_taken_at_full_scale() -> None:
    [message] = encode_samples(np.array([-32768, 0, 16384], np.int16))
    assert np.frombuffer(message, "<f4").tolist() == [-1.0, 0.0, 0.5]
    [message] = encode_samples(np.array([0, 128, 192], np.uint8))
    assert np.frombuffer(message, "<f4").tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (4, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        list(encode_samples(np.zeros(shape, np.float32)))


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
def test_a_servers_address_may_be_written_short(written: str, meant: str) -> None:
    assert resolve_stream_url(written) == meant


@pytest.mark.parametrize("written", ["", "ftp://h", "ws://", "/home/x", "ws://[h", "h:port", "h:99999"])
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        resolve_stream_url(written)


def test_what_is_shown_of_an_address_holds_no_key() -> None:
    assert redact_address("ws://user:key@h:1/x?token=key#key") == "ws://h:1/x"
    assert (
        resolve_status_url("wss://h/core/parakeet/stream?token=key") == "https://h/api/v1/audio/stream/status"
    )


@given(st.text() | st.binary())
def test_a_message_is_a_frame_or_a_value_error(message: str | bytes) -> None:
    try:
        frame, _ = parse_frame(message)
    except ValueError:
        return
    assert frame is not None


def test_a_long_array_is_never_copied_as_a_whole() -> None:
    step = np.broadcast_to(np.int8(64), (2**31,))  # one byte, 2 GiB to whoever copies it
    assert np.frombuffer(next(encode_samples(step)), "<f4").tolist() == [0.5] * MAX_MESSAGE_SAMPLES


@pytest.mark.parametrize("kind", [object, bool, np.int64, complex, "M8[s]", "U3"])
def test_what_is_no_sound_is_refused_even_where_it_is_empty(kind: str | type) -> None:
    with pytest.raises(TypeError, match="whole numbers of 8, 16 or 32 bits"):
        list(encode_samples(np.zeros(0, kind)))


def test_what_is_too_large_for_a_sample_is_sent_as_what_it_is() -> None:
    (message,) = encode_samples(np.array([1e300, np.nan]))
    assert not np.isfinite(np.frombuffer(message, "<f4")).any()

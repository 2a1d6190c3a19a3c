"""Tests of frames and samples as messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.client.messages import MAX_MESSAGE_SAMPLES, encode_samples, parse_frame


@given(st.integers(0, 3 * MAX_MESSAGE_SAMPLES))
def test_samples_are_split_into_bounded_messages(count: int) -> None:
    samples = np.arange(count, dtype=np.float32)
    messages = list(encode_samples(samples))
    assert b"".join(messages) == samples.tobytes()
    assert all(0 < len(message) <= 4 * MAX_MESSAGE_SAMPLES for message in messages)


def test_channels_are_averaged_and_floats_converted() -> None:
    (message,) = encode_samples(np.array([[1.0, 0.0], [-0.5, -0.5]]))
    assert np.frombuffer(message, "<f4").tolist() == [0.5, -0.5]
    (message,) = encode_samples(np.array([0.25, 0.5], dtype=np.float16)[::-1])
    assert np.frombuffer(message, "<f4").tolist() == [0.5, 0.25]
    (message,) = encode_samples(np.array([0.25], dtype=">f4"))
    assert np.frombuffer(message, "<f4").tolist() == [0.25]


def test_integers_are_scaled_to_floats() -> None:
    [message] = encode_samples(np.array([-32768, 0, 16384], np.int16))
    assert np.frombuffer(message, "<f4").tolist() == [-1.0, 0.0, 0.5]
    [message] = encode_samples(np.array([0, 128, 192], np.uint8))
    assert np.frombuffer(message, "<f4").tolist() == [-1.0, 0.0, 0.5]


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (4, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        list(encode_samples(np.zeros(shape, np.float32)))


@given(st.text() | st.binary())
def test_any_message_is_a_frame_or_a_value_error(message: str | bytes) -> None:
    try:
        frame, _ = parse_frame(message)
    except ValueError:
        return
    assert frame is not None


def test_a_long_array_is_not_copied_at_once() -> None:
    step = np.broadcast_to(np.int8(64), (2**31,))  # one byte of memory, 2 GiB if copied
    assert np.frombuffer(next(encode_samples(step)), "<f4").tolist() == [0.5] * MAX_MESSAGE_SAMPLES


@pytest.mark.parametrize("kind", [object, bool, np.int64, complex, "M8[s]", "U3"])
def test_other_types_are_refused_even_if_empty(kind: str | type) -> None:
    with pytest.raises(TypeError, match="whole numbers of 8, 16 or 32 bits"):
        list(encode_samples(np.zeros(0, kind)))


def test_samples_beyond_float32_are_sent_as_infinity() -> None:
    (message,) = encode_samples(np.array([1e300, np.nan]))
    assert not np.isfinite(np.frombuffer(message, "<f4")).any()

"""Bytes to samples."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.pcm import decode_pcm, encode_pcm

FORMATS = st.sampled_from(["f32le", "s16le"])
CHANNELS = st.integers(1, 8)


def test_float_samples_are_little_endian() -> None:
    assert decode_pcm(struct.pack("<3f", 0.5, -0.25, 1.0), "f32le", 1).tolist() == [0.5, -0.25, 1.0]


def test_int16_samples_are_divided_by_32768() -> None:
    samples = decode_pcm(struct.pack("<4h", -32_768, 0, 16_384, 32_767), "s16le", 1)
    assert samples.tolist() == [-1.0, 0.0, 0.5, 32_767 / 32_768]


def test_values_beyond_full_scale_are_clipped() -> None:
    assert decode_pcm(struct.pack("<4f", 3e38, -3e38, 1.5, -1.5), "f32le", 1).tolist() == [1, -1, 1, -1]


def test_channels_are_clipped_then_averaged() -> None:
    data = struct.pack("<6f", 0.5, -0.5, 1.0, 0.5, 3e38, 3e38)
    assert decode_pcm(data, "f32le", 2).tolist() == [0.0, 0.75, 1.0]
    assert decode_pcm(data, "f32le", 3).tolist() == pytest.approx([1 / 3, 2.5 / 3])


@pytest.mark.parametrize(
    ("length", "audio_format", "channels", "step"),
    [(3, "f32le", 1, 4), (4, "f32le", 2, 8), (1, "s16le", 1, 2), (6, "s16le", 2, 4), (36, "f32le", 8, 32)],
)
def test_an_incomplete_sample_is_bad_audio(length: int, audio_format: str, channels: int, step: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_pcm(bytes(length), audio_format, channels)
    assert caught.value.code is ErrorCode.BAD_AUDIO
    assert (
        caught.value.message == f"This audio is {length} bytes long; the length must be a multiple of {step}."
    )
    assert caught.value.detail == {"length": length, "multiple_of": step}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_bad_audio(value: float) -> None:
    with pytest.raises(ProtocolError, match="Sample 2 of this audio") as caught:
        decode_pcm(struct.pack("<4f", 0, 0, value, 0), "f32le", 2)
    assert caught.value.code is ErrorCode.BAD_AUDIO


@pytest.mark.parametrize(("audio_format", "channels"), [("mp3", 1), ("f32le", 0), ("f32le", 9)])
def test_an_unsupported_format_is_a_value_error(audio_format: str, channels: int) -> None:
    with pytest.raises(ValueError, match="Unsupported audio format"):
        decode_pcm(b"", audio_format, channels)


@given(data=st.binary(max_size=200), audio_format=FORMATS, channels=CHANNELS)
def test_any_bytes_are_samples_or_bad_audio(data: bytes, audio_format: str, channels: int) -> None:
    step = {"f32le": 4, "s16le": 2}[audio_format] * channels
    try:
        samples = decode_pcm(data, audio_format, channels)
    except ProtocolError as error:
        assert error.code is ErrorCode.BAD_AUDIO  # either outcome is right  # noqa: PT017  # either outcome is right
    else:
        assert samples.dtype == np.float32
        assert samples.shape == (len(data) // step,)
        assert np.all(np.abs(samples) <= 1)


@given(
    values=st.lists(st.integers(-32_768, 32_767), max_size=160),
    audio_format=FORMATS,
    channels=CHANNELS,
    cut=st.integers(0, 160),
)
def test_samples_do_not_depend_on_the_chunks(
    values: list[int], audio_format: str, channels: int, cut: int
) -> None:
    whole = np.array(values[: len(values) // channels * channels], dtype="<i2")
    raw = whole.tobytes() if audio_format == "s16le" else (whole / 30_000).astype("<f4").tobytes()
    place = min(cut * (len(raw) // max(len(whole), 1)) * channels, len(raw))
    parts = [decode_pcm(part, audio_format, channels) for part in (raw[:place], raw[place:])]
    assert np.array_equal(np.concatenate(parts), decode_pcm(raw, audio_format, channels))


@given(st.lists(st.floats(-1, 1, width=32), max_size=50))
def test_encoded_samples_decode_to_the_same(values: list[float]) -> None:
    samples = np.array(values, dtype=np.float32)
    assert np.array_equal(decode_pcm(encode_pcm(samples), "f32le", 1), samples)


def test_samples_share_no_memory_with_the_message() -> None:
    message = bytearray(struct.pack("<2f", 0.5, 0.5))
    samples = decode_pcm(bytes(message), "f32le", 1)
    samples[0] = 0.25
    message[4:] = bytes(4)
    assert samples.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("audio_format", ["f32le", "s16le"])
def test_no_bytes_decode_to_no_samples(audio_format: str) -> None:
    assert decode_pcm(b"", audio_format, 2).shape == (0,)

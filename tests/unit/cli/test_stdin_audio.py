from __future__ import annotations

import tempfile

import numpy as np
import pytest

from echoic.cli.stdin_audio import SampleFormat, StdinAudio
from echoic.client import UnreadableAudio
from support.command_line import encode_samples, encode_wave

#: One second of noise, exact in 8 bits.
SAMPLES = (np.random.default_rng(1).integers(-128, 128, 16_000) / 128).astype(np.float32)
WAVE = encode_wave(SAMPLES)


async def read(data: bytes, sample_format: SampleFormat | None = None) -> np.ndarray:
    """Return the samples that are read from standard input with this content."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        audio = StdinAudio(file.fileno(), sample_format or SampleFormat())
        pieces = [piece async for piece in audio.read_pieces()]
    return np.concatenate(pieces)


async def test_raw_samples_are_read_to_the_end() -> None:
    assert np.array_equal(await read(encode_samples(SAMPLES)), SAMPLES)


async def test_channels_of_raw_floats_are_averaged() -> None:
    data = encode_samples(np.stack([SAMPLES, -SAMPLES], 1), "f32le")
    assert not (await read(data, SampleFormat("f32le", 48_000, 2))).any()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
async def test_wav_samples_of_any_width_are_decoded(width: int, channels: int) -> None:
    samples = await read(encode_wave(SAMPLES, 16_000, width, channels))
    np.testing.assert_allclose(samples, np.clip(SAMPLES, -1, 1), atol=2**-23)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
async def test_a_wav_stream_of_unknown_length_is_read_to_its_end(size: int) -> None:
    data = WAVE[:40] + size.to_bytes(4, "little") + WAVE[44:]
    assert np.array_equal(await read(data), SAMPLES)


async def test_chunks_after_the_samples_are_skipped() -> None:
    assert np.array_equal(await read(WAVE + b"LIST" + encode_samples(SAMPLES)), SAMPLES)


@pytest.mark.parametrize("data", [encode_samples(SAMPLES) + b"\x01", encode_samples(SAMPLES[:3]) + b"\x01"])
async def test_an_incomplete_sample_at_the_end_is_dropped(data: bytes) -> None:
    assert len(await read(data)) == len(data) // 2


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "Standard input is empty."),
        (b"fLaC" + bytes(100), "neither raw samples nor WAV"),
        (b"ID3\x04" + bytes(100), "ffmpeg -i FILE"),
        (WAVE[:30], "ends within its header"),
        (WAVE[:20] + b"\x55\x00" + WAVE[22:], "is compressed"),
        (WAVE[:22] + b"\x41\x00" + WAVE[24:], "has 65 channels; at most 64"),
        (WAVE[:12] + WAVE[36:], "has no format chunk"),
    ],
)
async def test_unreadable_input_is_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableAudio, match=sentence):
        await read(data)


async def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UnreadableAudio, match="The audio is not f32le"):
        await read(np.full(100, np.nan, "<f4").tobytes(), SampleFormat("f32le"))

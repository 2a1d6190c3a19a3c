"""Bytes to samples and back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from echoic.errors import ErrorCode, ProtocolError

#: Bytes of a sample of each ``audio_format`` that a config allows.
_BYTES_PER_SAMPLE: Mapping[str, int] = MappingProxyType({"f32le": 4, "s16le": 2})
_INT16_SCALE = np.float32(1 / 32_768)
_MAX_CHANNELS = 8


def decode_pcm(data: bytes, audio_format: str, channels: int) -> NDArray[np.float32]:
    """Return the samples that an audio message carries, its channels averaged.

    Each sample of the result depends on its own bytes alone, to the last bit, however the audio is cut.

    Args:
        data: Little-endian samples, the channels interleaved.
        audio_format: ``f32le`` (values beyond -1..1 are clipped) or ``s16le`` (divided by 32,768).
        channels: 1..8.

    Returns:
        float32, shape ``(n,)``, mono, -1..1, at the client's rate; shares no memory with ``data``.

    Raises:
        ProtocolError: ``bad_audio``: not whole samples of all channels, or a value that is no number.
        ValueError: The format or the number of channels is none that a config allows.
    """
    if audio_format not in _BYTES_PER_SAMPLE or not 1 <= channels <= _MAX_CHANNELS:
        raise ValueError(f"No audio format: {audio_format!r} with {channels} channels.")
    step = _BYTES_PER_SAMPLE[audio_format] * channels
    if len(data) % step:
        raise _build_length_error(len(data), step)
    samples = _decode_float(data) if audio_format == "f32le" else _decode_int16(data)
    return samples if channels == 1 else _average_channels(samples.reshape(-1, channels))


def encode_pcm(samples: NDArray[np.float32]) -> bytes:
    """Return samples as an audio message carries them by default: little-endian float32.

    Args:
        samples: float32, shape ``(n,)``, mono, -1..1.
    """
    return samples.astype("<f4", copy=False).tobytes()


def _decode_float(data: bytes) -> NDArray[np.float32]:
    raw = np.frombuffer(data, dtype="<f4").astype(np.float32)
    # Nearly all audio is within bounds, and its extremes say so in half the time; a NaN is its own extreme.
    if raw.size and np.minimum.reduce(raw) >= -1.0 and np.maximum.reduce(raw) <= 1.0:
        return raw
    finite = np.isfinite(raw)
    if not finite.all():
        raise ProtocolError(
            ErrorCode.BAD_AUDIO,
            f"Sample {int(finite.argmin())} of this audio is not a finite number.",
        )
    return np.clip(raw, np.float32(-1.0), np.float32(1.0), out=raw)


def _decode_int16(data: bytes) -> NDArray[np.float32]:
    samples = np.frombuffer(data, dtype="<i2").astype(np.float32)
    samples *= _INT16_SCALE
    return samples


def _average_channels(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add up the channels one after the other: numpy's own mean may order the sum by the array's shape."""
    total = frames[:, 0].copy()
    for channel in range(1, frames.shape[1]):
        total += frames[:, channel]
    total /= np.float32(frames.shape[1])
    return total


def _build_length_error(length: int, step: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.BAD_AUDIO,
        f"This audio is {length} bytes long; it should be a multiple of {step}.",
        length=length,
        multiple_of=step,
    )

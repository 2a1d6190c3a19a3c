"""Converts PCM audio between bytes and float32 samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from echoic.errors import ErrorCode, ProtocolError

#: Bytes per sample of each ``audio_format``.
_BYTES_PER_SAMPLE: Mapping[str, int] = MappingProxyType({"f32le": 4, "s16le": 2})
_INT16_SCALE = np.float32(1 / 32_768)
_MAX_CHANNELS = 8


def decode_pcm(data: bytes, audio_format: str, channels: int) -> NDArray[np.float32]:
    """Decode the samples of an audio message and average the channels.

    Each sample depends only on its own bytes, bit for bit, however the audio is divided into messages.

    Args:
        data: Little-endian samples, channels interleaved.
        audio_format: ``f32le`` (values beyond -1..1 are clipped) or ``s16le`` (divided by 32,768).
        channels: 1..8.

    Returns:
        float32, shape ``(n,)``, mono, -1..1, at the client's rate; shares no memory with ``data``.

    Raises:
        ProtocolError: ``bad_audio``: an incomplete sample, or a value that is NaN or infinite.
        ValueError: Unsupported format or number of channels.
    """
    if audio_format not in _BYTES_PER_SAMPLE or not 1 <= channels <= _MAX_CHANNELS:
        raise ValueError(f"Unsupported audio format: {audio_format!r} with {channels} channels.")
    step = _BYTES_PER_SAMPLE[audio_format] * channels
    if len(data) % step:
        raise _build_length_error(len(data), step)
    samples = _decode_float(data) if audio_format == "f32le" else _decode_int16(data)
    return samples if channels == 1 else _average_channels(samples.reshape(-1, channels))


def encode_pcm(samples: NDArray[np.float32]) -> bytes:
    """Encode samples in the default audio format, little-endian float32.

    Args:
        samples: float32, shape ``(n,)``, mono, -1..1.
    """
    return samples.astype("<f4", copy=False).tobytes()


def _decode_float(data: bytes) -> NDArray[np.float32]:
    raw = np.frombuffer(data, dtype="<f4").astype(np.float32)
    # Fast path: nearly all audio is within bounds. NaN fails both comparisons.
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
    """Average the channels in a fixed order; the order of ``np.mean`` may depend on the array's shape."""
    total = frames[:, 0].copy()
    for channel in range(1, frames.shape[1]):
        total += frames[:, channel]
    total /= np.float32(frames.shape[1])
    return total


def _build_length_error(length: int, step: int) -> ProtocolError:
    return ProtocolError(
        ErrorCode.BAD_AUDIO,
        f"This audio is {length} bytes long; the length must be a multiple of {step}.",
        length=length,
        multiple_of=step,
    )

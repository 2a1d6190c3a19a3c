"""Converts between messages and what the client sends and receives: frames and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from echoic.errors import Detail
from echoic.protocol.frames import (
    Configured,
    DiarizationSummary,
    Error,
    Final,
    FullTranscript,
    Insight,
    InsightError,
    Partial,
    Pong,
    Resumed,
    ServerFrame,
    Status,
    Warning,  # noqa: A004  # the protocol's word
)

#: A typed frame, or the JSON object of a frame whose type or shape this version does not know.
ReceivedFrame = ServerFrame | dict[str, object]

_FRAME_TYPES: Mapping[str, type[ServerFrame]] = MappingProxyType(
    {
        "partial": Partial,
        "final": Final,
        "full_transcript": FullTranscript,
        "diarization_summary": DiarizationSummary,
        "insight": Insight,
        "insight_error": InsightError,
        "warning": Warning,
        "pong": Pong,
    }
)
_STATUS_TYPES: Mapping[str, type[ServerFrame]] = MappingProxyType(
    {"configured": Configured, "resumed": Resumed}
)
_ERROR_KEYS = frozenset({"type", "code", "message", "error_type"})

#: The most samples of a message (4 s at 16 kHz, 256 KiB): far below the protocol's limit of 8 MiB, and small
#: enough that a commit or a ping does not wait long behind one message.
MAX_MESSAGE_SAMPLES = 65_536
#: The most channels; an array with more columns is probably transposed.
MAX_CHANNELS = 64

_MATRIX_DIMENSIONS = 2
#: Bytes of the widest integer samples.
_MAX_INTEGER_BYTES = 4
#: Zero in unsigned samples of 8 bits, as in WAV files.
_UINT8_ZERO = 128


def parse_frame(
    message: str | bytes, transform: Callable[[dict[str, object]], None] | None = None
) -> tuple[ReceivedFrame, int | None]:
    """Parse a message of the server.

    Args:
        message: JSON text.
        transform: Changes the JSON object in place before it becomes a frame.

    Returns:
        The frame, and its ``seq``, which only frames of a resumable session have.

    Raises:
        ValueError: The message is not a JSON object.
    """
    try:
        body = msgspec.json.decode(message, type=dict[str, object])
    except msgspec.DecodeError:
        raise ValueError("The server sent a message that is not a JSON object.") from None
    number = body.pop("seq", None)
    if transform is not None:
        transform(body)
    return _to_frame(body), number if isinstance(number, int) else None


def _to_frame(body: dict[str, object]) -> ReceivedFrame:
    if body.get("type") == "error":
        return _to_error(body)
    known = _find_frame_type(body)
    if known is None:
        return body
    try:
        return msgspec.convert(body, known)
    except msgspec.ValidationError:
        return body


def _find_frame_type(body: Mapping[str, object]) -> type[ServerFrame] | None:
    if body.get("type") == "status":
        return _STATUS_TYPES.get(str(body.get("state")), Status)
    return _FRAME_TYPES.get(str(body.get("type")))


def _to_error(body: Mapping[str, object]) -> Error:
    detail = {key: cast("Detail", value) for key, value in body.items() if key not in _ERROR_KEYS}
    return Error(code=str(body.get("code", "")), message=str(body.get("message", "")), detail=detail)


def encode_samples(samples: NDArray[Any]) -> Iterator[bytes]:
    """Yield messages of raw little-endian float32 samples, of bounded size.

    Args:
        samples: As ``to_mono`` takes them.

    Raises:
        TypeError: As ``to_mono``.
        ValueError: As ``to_mono``.
    """
    samples = _check_samples(samples)
    for start in range(0, len(samples), MAX_MESSAGE_SAMPLES):  # avoids a copy of the whole array
        yield to_mono(samples[start : start + MAX_MESSAGE_SAMPLES]).astype("<f4", copy=False).tobytes()


def to_mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Convert samples to mono float32 in -1..1.

    Args:
        samples: Floats of any size in -1..1, or integers at full scale: int8, int16, int32, or uint8 with
            its zero at 128. The shape is ``(n,)`` for mono, or ``(n, channels)``, which are averaged.

    Returns:
        float32, shape ``(n,)``; values beyond -1..1 are clipped by the server.

    Raises:
        TypeError: The samples have another type.
        ValueError: The array has another shape.
    """
    floats = _to_floats(_check_samples(samples))
    if floats.ndim == 1:
        return floats
    return floats[:, 0] if floats.shape[1] == 1 else floats.mean(axis=1, dtype=np.float32)


def _check_samples(samples: NDArray[Any]) -> NDArray[Any]:
    samples = np.asarray(samples)
    is_matrix = samples.ndim == _MATRIX_DIMENSIONS
    if samples.ndim != 1 and not (is_matrix and 1 <= samples.shape[1] <= MAX_CHANNELS):
        hint = ": is it (channels, n)? Then send samples.T" if is_matrix else ""
        raise ValueError(f"Samples must have the shape (n,) or (n, channels), not {samples.shape}{hint}.")
    kind = samples.dtype
    if kind.kind != "f" and kind != np.uint8 and (kind.kind != "i" or kind.itemsize > _MAX_INTEGER_BYTES):
        raise TypeError(f"Samples must be floats in -1..1 or whole numbers of 8, 16 or 32 bits, not {kind}.")
    return samples


def _to_floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    kind = samples.dtype
    if kind.kind == "f":
        with np.errstate(over="ignore"):  # the server answers infinity with bad_audio
            return samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        return (samples.astype(np.float32) - _UINT8_ZERO) / np.float32(_UINT8_ZERO)
    return samples.astype(np.float32) / np.float32(2 ** (8 * kind.itemsize - 1))

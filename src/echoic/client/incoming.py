"""A server's messages as frames."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import msgspec

from echoic.wire.frames import (
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from echoic.errors import Detail

#: A frame whose type this version knows, or the JSON object of one that it does not.
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


def parse_frame(
    message: str | bytes, transform: Callable[[dict[str, object]], None] | None = None
) -> tuple[ReceivedFrame, int | None]:
    """Return the frame in a server's message, and its number if it has one.

    Args:
        message: JSON text.
        transform: Changes the JSON object before it is read.

    Returns:
        The typed frame; a frame of unknown type, or of a known type in a shape that this version
        does not know, as the object that it is. Its ``seq``, which frames of a resumable session have.

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

"""A server's messages as frames."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import msgspec

from echoic.wire.frames import (
    Configured,
    Error,
    Final,
    FullTranscript,
    Partial,
    Pong,
    ServerFrame,
    Status,
    Warning,  # noqa: A004  # the protocol's word
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoic.errors import Detail

#: A frame whose type this version knows, or the JSON object of one that it does not.
Received = ServerFrame | dict[str, object]

_TYPES: Mapping[str, type[ServerFrame]] = MappingProxyType(
    {
        "partial": Partial,
        "final": Final,
        "full_transcript": FullTranscript,
        "warning": Warning,
        "pong": Pong,
    }
)
_ERROR_KEYS = frozenset({"type", "code", "message", "error_type"})


def read_frame(message: str | bytes) -> Received:
    """Return the frame in a server's message.

    Args:
        message: JSON text.

    Returns:
        The typed frame; a frame of unknown type, or of a known type in a shape that this version
        does not know, as the object that it is.

    Raises:
        ValueError: The message is not a JSON object.
    """
    try:
        body = msgspec.json.decode(message, type=dict[str, object])
    except msgspec.DecodeError:
        raise ValueError("The server sent a message that is not a JSON object.") from None
    if body.get("type") == "error":
        return _error(body)
    known = _type_of(body)
    if known is None:
        return body
    try:
        return msgspec.convert(body, known)
    except msgspec.ValidationError:
        return body


def _type_of(body: Mapping[str, object]) -> type[ServerFrame] | None:
    if body.get("type") == "status":
        return Configured if body.get("state") == "configured" else Status
    return _TYPES.get(str(body.get("type")))


def _error(body: Mapping[str, object]) -> Error:
    detail = {key: cast("Detail", value) for key, value in body.items() if key not in _ERROR_KEYS}
    return Error(code=str(body.get("code", "")), message=str(body.get("message", "")), detail=detail)

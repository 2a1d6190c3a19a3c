"""Exceptions, the error codes of the protocol, and the close code of each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

Detail = str | int | float | bool | None
_FOLDER_PATTERN = re.compile(r"""(?<![^\s'"`(])[^\s'"`(]*[/\\](?:.*[/\\])?""", re.DOTALL)


class ErrorCode(StrEnum):
    """The ``code`` of an ``error`` frame."""

    BAD_JSON = "bad_json"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    BAD_AUDIO = "bad_audio"
    INVALID_CONFIG = "invalid_config"
    MODEL_UNAVAILABLE = "model_unavailable"
    DECODE_FAILED = "decode_failed"
    FRAME_TOO_LARGE = "frame_too_large"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    QUOTA_EXCEEDED = "quota_exceeded"
    SERVER_BUSY = "server_busy"
    DRAINING = "draining"
    IDLE_TIMEOUT = "idle_timeout"
    TIME_LIMIT = "time_limit"
    RESUME_FAILED = "resume_failed"
    INTERNAL_ERROR = "internal_error"


#: WebSocket close code that follows an ``error`` frame, or None if the session continues.
CLOSE_CODES: Mapping[ErrorCode, int | None] = MappingProxyType(
    {
        ErrorCode.BAD_JSON: None,
        ErrorCode.UNKNOWN_TYPE: None,
        ErrorCode.MISSING_FIELD: None,
        ErrorCode.BAD_AUDIO: None,
        ErrorCode.INVALID_CONFIG: None,
        ErrorCode.MODEL_UNAVAILABLE: None,
        ErrorCode.DECODE_FAILED: None,
        ErrorCode.FRAME_TOO_LARGE: 1009,
        ErrorCode.UNAUTHORIZED: 4401,
        ErrorCode.FORBIDDEN: 4403,
        ErrorCode.QUOTA_EXCEEDED: 4003,
        ErrorCode.SERVER_BUSY: 1013,
        ErrorCode.DRAINING: 1013,
        ErrorCode.IDLE_TIMEOUT: 1001,
        ErrorCode.TIME_LIMIT: 1001,
        ErrorCode.RESUME_FAILED: 4404,
        ErrorCode.INTERNAL_ERROR: 1011,
    }
)


class EchoicError(Exception):
    """Base of all errors that are sent to clients as an ``error`` frame.

    Args:
        code: Error code.
        message: A sentence for the user; never the text of another library's exception.
        **detail: Further keys of the frame.
    """

    def __init__(self, code: ErrorCode, message: str, **detail: Detail) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail: dict[str, Detail] = detail


def strip_folders(text: str) -> str:
    """Remove the folders of file paths from a message, so that only file names remain.

    Removes all text from the start of the first path to the last separator in the message: folder names may
    contain spaces, so removing too much is safer than too little.
    """
    return _FOLDER_PATTERN.sub("", text)


class ProtocolError(EchoicError):
    """A message of the client that violates the protocol."""


def append_install(reason: str, install: str | None) -> str:
    """Append the install command, if any, to a sentence about something missing."""
    return f"{reason} To install it: `{install}`." if install else reason


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why an optional feature is unavailable."""

    reason: str
    """A sentence."""
    install: str | None = None
    """The command that installs what is missing, if any."""

    @property
    def message(self) -> str:
        """Reason and install command as one message."""
        return append_install(self.reason, self.install)


class ModelUnavailable(EchoicError):
    """A requested model is unavailable.

    ``message`` and ``detail`` go to clients and contain no folder of this machine. ``str()`` and ``reason``
    contain them, for the command line and the log.

    Args:
        model: Model name as the client requested it.
        reason: What is missing, as a sentence.
        install: The command that installs what is missing, if any.
    """

    def __init__(self, model: str, reason: str, install: str | None = None) -> None:
        public, intro = strip_folders(reason), f"The model {model!r} is not available here."
        super().__init__(
            ErrorCode.MODEL_UNAVAILABLE,
            f"{intro} {append_install(public, install)}",
            model=model,
            reason=public,
            install=install,
        )
        self.args = (f"{intro} {append_install(reason, install)}",)
        self.model = model
        self.reason = reason
        self.install = install


class DecodeFailed(EchoicError):
    """An engine failed to decode a window; the original exception is chained.

    Args:
        message: A sentence for the user.
        is_last: Whether the decode was retried already and must not be retried again.
    """

    def __init__(
        self, message: str = "The engine could not decode this audio.", *, is_last: bool = False
    ) -> None:
        super().__init__(ErrorCode.DECODE_FAILED, message)
        self.is_last = is_last


class UnreadableAudio(Exception):
    """A file contains no readable audio; the message names the file."""


class AccessRefused(EchoicError):
    """A connection is refused: authentication failed, server full, or draining."""

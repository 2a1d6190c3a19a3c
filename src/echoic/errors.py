"""The tree of errors, and what each does to a connection."""

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


#: What follows an ``error`` frame: the WebSocket close code, or None where the session goes on.
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
    """Something a person can be told: a code, a sentence, and named details.

    Args:
        code: Which row of the table this is.
        message: A sentence for the person at the client; never a foreign exception's text.
        **detail: Further keys of the ``error`` frame.
    """

    def __init__(self, code: ErrorCode, message: str, **detail: Detail) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail: dict[str, Detail] = detail


def strip_folders(text: str) -> str:
    """Return a sentence with files' names in it, but not where they are.

    From the beginning of the first path up to its last separator all goes, and with more than one path all up
    to the last one's: where the names of folders may hold spaces, too much is better than too little.
    """
    return _FOLDER_PATTERN.sub("", text)


class ProtocolError(EchoicError):
    """A client's message that is not what the protocol allows."""


def append_install(reason: str, install: str | None) -> str:
    """Return a sentence about something missing, and the command that brings it if there is one."""
    return f"{reason} To install it: `{install}`." if install else reason


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why something cannot be had: a sentence, and the command that would help if there is one."""

    reason: str
    install: str | None = None

    @property
    def message(self) -> str:
        """Both, for a person."""
        return append_install(self.reason, self.install)


class ModelUnavailable(EchoicError):
    """A model that cannot be had here, with the command that would bring it.

    Clients are told its ``message`` and ``detail``, which name no folder of this machine. ``str()`` of it and
    ``reason`` do, for the command line and the log.

    Args:
        model: The model's name as the client asked for it.
        reason: What is missing, in a sentence.
        install: The command that installs what is missing, if there is one.
    """

    def __init__(self, model: str, reason: str, install: str | None = None) -> None:
        public, said = strip_folders(reason), f"The model {model!r} is not available here."
        super().__init__(
            ErrorCode.MODEL_UNAVAILABLE,
            f"{said} {append_install(public, install)}",
            model=model,
            reason=public,
            install=install,
        )
        self.args = (f"{said} {append_install(reason, install)}",)
        self.model = model
        self.reason = reason
        self.install = install


class DecodeFailed(EchoicError):
    """An engine that could not decode a window; the message is ours, the cause is chained.

    Args:
        message: A sentence.
        is_last: It was tried more than once already, and should not be again.
    """

    def __init__(
        self, message: str = "The engine could not decode this audio.", *, is_last: bool = False
    ) -> None:
        super().__init__(ErrorCode.DECODE_FAILED, message)
        self.is_last = is_last


class UnreadableAudio(Exception):
    """A file that holds no audio that can be read; the message is a sentence that names it."""


class AccessRefused(EchoicError):
    """A connection that may not be: no key, wrong key, server full, draining."""

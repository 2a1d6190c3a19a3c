"""What goes wrong with a stream, as its client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class ServerError(Exception):
    """The server refused, ended or never began the stream.

    Attributes:
        code: A code of the protocol's error table, ``unreachable`` (no server there) or ``closed``
            (the connection ended without a word).
        message: A sentence for a person.
        detail: Further keys of the ``error`` frame, such as ``limit`` and ``used``.
        close_code: The WebSocket close code, if the connection was closed.
    """

    def __init__(
        self,
        code: str,
        message: str,
        detail: Mapping[str, object] | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = dict(detail or {})
        self.close_code = close_code

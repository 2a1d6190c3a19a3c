"""What goes wrong with a stream, as its client sees it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping


class ServerError(Exception):
    """The server refused, ended or never began the stream.

    Attributes:
        code: A code of the protocol's error table, ``unreachable`` (no server there), ``build_untrusted_error``
            (its certificate is not) or ``closed`` (the connection ended without a word).
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


def build_untrusted_error(server: str, error: ssl.SSLCertVerificationError) -> ServerError:
    """Return that a certificate is not trusted, why, and what to do.

    Args:
        server: The server's address, without anything secret.
        error: What TLS said.
    """
    return ServerError(
        "untrusted",
        f"The certificate of {server} is not trusted: {error.verify_message.rstrip('.')}. Where it is one of "
        "your own, name the file (PEM) of whoever signed it in SSL_CERT_FILE.",
    )

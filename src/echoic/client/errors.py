"""Errors of the client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping


class ServerError(Exception):
    """The server refused or ended the stream, or did not answer.

    Args:
        code: A code of the protocol's error table, ``unreachable`` (no server answers), ``untrusted`` (its
            certificate is not trusted) or ``closed`` (the connection ended without an error frame).
        message: A sentence for the user.
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
    """Build the error of a certificate that is not trusted.

    Args:
        server: The address of the server, without secrets.
        error: The error of the TLS handshake.
    """
    return ServerError(
        "untrusted",
        f"The certificate of {server} is not trusted: {error.verify_message.rstrip('.')}. If it is your own, "
        "set SSL_CERT_FILE to the certificate (PEM) of the authority that signed it.",
    )

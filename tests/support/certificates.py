"""Certificates for tests of TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class CertificateFiles:
    """A certificate for this machine, its key and its authority, as PEM files.

    Args:
        folder: The folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        self.cert, self.key, self.both = (folder / name for name in ("cert.pem", "key.pem", "both.pem"))
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.authority)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)

    @property
    def client_context(self) -> ssl.SSLContext:
        """A client's TLS context that trusts the authority."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

"""Tests of the client's errors."""

from __future__ import annotations

import ssl

from echoic.client.errors import ServerError, build_untrusted_error


def test_an_error_has_a_copy_of_its_detail() -> None:
    detail = {"limit": 2}
    error = ServerError("quota_exceeded", "No more today.", detail, 4003)
    detail.clear()
    assert (str(error), error.code, error.close_code) == ("No more today.", "quota_exceeded", 4003)
    assert error.detail == {"limit": 2}


def test_an_untrusted_certificate_is_explained() -> None:
    cause = ssl.SSLCertVerificationError()
    cause.verify_message = "self-signed certificate."
    error = build_untrusted_error("wss://h", cause)
    assert error.code == "untrusted"
    assert error.message.startswith("The certificate of wss://h is not trusted: self-signed certificate. ")
    assert "SSL_CERT_FILE" in error.message

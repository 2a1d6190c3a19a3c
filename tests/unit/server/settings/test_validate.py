from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from echoic.server.settings.groups import Settings
from echoic.server.settings.validate import find_conflicts, is_loopback
from support.certificates import CertificateFiles


def find(**settings: object) -> list[str]:
    return list(find_conflicts(Settings.model_validate(settings)))


def test_the_defaults_have_no_conflict() -> None:
    assert find() == []


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "example.org"])
def test_an_open_network_needs_a_key_or_consent(host: str) -> None:
    (problem,) = find(host=host)
    assert "allow_open_network" in problem
    assert find(host=host, allow_open_network=True) == []
    assert find(host=host, api_key="k") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert is_loopback(host)
    assert find(host=host) == []


def test_a_check_of_rejected_values_is_skipped() -> None:
    settings = Settings.model_validate({"host": "::"})
    assert list(find_conflicts(settings, {"api_key"})) == []


def test_a_protected_status_needs_a_key() -> None:
    (problem,) = find(status_needs_key=True)
    assert problem.startswith("[Auth] status_needs_key")
    assert find(status_needs_key=True, api_key="k") == []


def test_a_language_model_needs_an_address_and_a_name() -> None:
    (problem,) = find(insights_provider="llm", insights_base_url="http://127.0.0.1:1/v1")
    assert "base_url and model" in problem
    assert find(insights_provider="llm", insights_base_url="http://127.0.0.1:1/v1", insights_model="m") == []


@pytest.mark.parametrize("name", ["backlog", "total_backlog"])
def test_a_low_mark_is_below_its_high_mark(name: str) -> None:
    (problem,) = find(**{f"max_{name}_seconds": 10, f"low_{name}_seconds": 10})
    assert problem == f"[Server] low_{name}_seconds should be less than max_{name}_seconds, 10."


def test_a_tls_key_needs_a_certificate() -> None:
    assert find(tls_key_file="key.pem") == ["[Server] tls_key_file is set, but no tls_cert_file."]


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def test_a_certificate_file_may_contain_the_key(files: CertificateFiles) -> None:
    assert find(tls_cert_file=files.both) == []
    assert find(tls_cert_file=files.cert, tls_key_file=files.key) == []
    (problem,) = find(tls_cert_file=files.cert)
    assert "alone" in problem


def test_a_missing_tls_file_is_named_by_its_setting(files: CertificateFiles, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    reason = "this file cannot be read: no such file or directory."
    assert find(tls_cert_file=gone, tls_key_file=files.key) == [f"[Server] tls_cert_file: {reason}"]
    assert find(tls_cert_file=files.cert, tls_key_file=gone) == [f"[Server] tls_key_file: {reason}"]


def test_a_key_of_another_certificate_is_rejected(files: CertificateFiles, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = CertificateFiles(tmp_path / "other")
    (problem,) = find(tls_cert_file=files.cert, tls_key_file=other.key)
    assert problem.endswith("are not a certificate and its key, as PEM and without a password.")


def test_a_key_with_a_password_is_rejected_without_a_prompt(files: CertificateFiles, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    key = load_pem_private_key(files.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    (problem,) = find(tls_cert_file=files.cert, tls_key_file=locked)
    assert problem.endswith("without a password.")

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from echoic.auth.keys import parse_key_digest
from echoic.server.settings.fields import (
    AddressText,
    CollectorUrl,
    DiarizerName,
    FileContents,
    KeyDigest,
    LeaseSeconds,
    OriginText,
    PromptTemplate,
    RedisUrl,
    SecretBytes,
    TermsFile,
)
from echoic.text.vocabulary import PROMPT_TEMPLATE

#: Annotated types have no common type.
FieldType = Any


def parse(kind: FieldType, value: object) -> object:
    return TypeAdapter(kind).validate_python(value)


def test_texts_are_converted(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"pem")
    assert parse(KeyDigest, "k") == parse_key_digest("k")
    assert parse(SecretBytes, "secret") == b"secret"
    assert parse(FileContents, str(file)) == b"pem"
    assert parse(PromptTemplate, "  ") == PROMPT_TEMPLATE
    assert parse(PromptTemplate, "Terms: {terms}") == "Terms: {terms}"


@pytest.mark.parametrize(("given", "expected"), [("1", 30), ("-5", 30), (90, 90), ("99999", 3600)])
def test_lease_times_are_clamped(given: object, expected: int) -> None:
    assert parse(LeaseSeconds, given) == expected


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (RedisUrl, "http://localhost", "it should begin with redis://"),
        (CollectorUrl, "localhost:4317", "it should begin with http://"),
        (AddressText, "10.0.0.0/40", "10.0.0.0/40"),
        (OriginText, "https://a.example/path", "https://a.example/path"),
        (DiarizerName, "unknown", "it should be one of off, "),
        (FileContents, "/nowhere/key.pem", "this file cannot be read"),
        (TermsFile, "/nowhere/terms.txt", "a file that can be read"),
        (KeyDigest, "sha256:00", "64 hexadecimal digits"),
    ],
)
def test_unusable_values_are_rejected_with_a_reason(kind: FieldType, value: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(kind, value)
    assert reason in str(caught.value)

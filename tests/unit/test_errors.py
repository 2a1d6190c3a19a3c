"""The table of errors."""

from __future__ import annotations

import pytest

from echoic.errors import (
    CLOSE_CODES,
    DecodeFailed,
    EchoicError,
    ErrorCode,
    ModelUnavailable,
    ProtocolError,
    strip_folders,
)

#: The table of the protocol, section 7, and what a resumed session needs beside it.
TABLE = {
    "bad_json": None,
    "unknown_type": None,
    "missing_field": None,
    "bad_audio": None,
    "invalid_config": None,
    "model_unavailable": None,
    "decode_failed": None,
    "frame_too_large": 1009,
    "unauthorized": 4401,
    "forbidden": 4403,
    "resume_failed": 4404,
    "quota_exceeded": 4003,
    "server_busy": 1013,
    "draining": 1013,
    "idle_timeout": 1001,
    "time_limit": 1001,
    "internal_error": 1011,
}


def test_every_code_has_a_close_code_or_none() -> None:
    assert {ErrorCode(code): close for code, close in TABLE.items()} == CLOSE_CODES
    assert set(CLOSE_CODES) == set(ErrorCode)


@pytest.mark.parametrize("close", [close for close in CLOSE_CODES.values() if close is not None])
def test_close_codes_are_valid_for_servers(close: int) -> None:
    assert close in {1001, 1009, 1011, 1013} or 4000 <= close <= 4999


def test_an_error_has_code_message_and_details() -> None:
    error = ProtocolError(ErrorCode.MISSING_FIELD, "A sentence.", field="data")
    assert (error.code, error.message, error.detail) == ("missing_field", "A sentence.", {"field": "data"})
    assert str(error) == "A sentence."
    assert isinstance(error, EchoicError)


def test_an_unavailable_model_names_the_install_command() -> None:
    error = ModelUnavailable("parakeet", "NeMo is not installed.", "pip install nemo")
    assert error.code is ErrorCode.MODEL_UNAVAILABLE
    assert error.message == (
        "The model 'parakeet' is not available here. NeMo is not installed. "
        "To install it: `pip install nemo`."
    )
    assert error.detail == {
        "model": "parakeet",
        "reason": "NeMo is not installed.",
        "install": "pip install nemo",
    }


def test_an_unavailable_model_may_have_no_command() -> None:
    assert "install" not in ModelUnavailable("x", "No such model.").message


def test_a_failed_decode_has_a_generic_message() -> None:
    assert DecodeFailed().code is ErrorCode.DECODE_FAILED
    assert DecodeFailed().message == "The engine could not decode this audio."


@pytest.mark.parametrize(
    ("message", "public"),
    [
        ("There is no folder /srv/models/p.", "There is no folder p."),
        ("There is no folder /models.", "There is no folder models."),
        ("/home/ann smith/o'brien/vocab.txt is empty.", "vocab.txt is empty."),
        ("model.bin is missing in models/p.", "model.bin is missing in p."),
        (r"C:\Users\ann smith\p\model.bin is broken.", "model.bin is broken."),
        ("The folder '/srv/p' and (/srv/q) differ.", "The folder 'q) differ."),
        ("Run `git lfs pull` there (.data).", "Run `git lfs pull` there (.data)."),
    ],
)
def test_folders_are_removed_from_messages(message: str, public: str) -> None:
    assert strip_folders(message) == public
    refusal = ModelUnavailable("m", message, "pip install x/y")
    assert refusal.detail["reason"] == public
    assert public in refusal.message
    assert message in str(refusal)
    assert refusal.reason == message

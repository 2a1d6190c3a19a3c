"""Tests of decoding client messages and encoding server frames."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from dataclasses import MISSING, fields
from itertools import islice
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import (
    MAX_CONFIG_CHARACTERS,
    MAX_CONFIG_DEPTH,
    MAX_MESSAGE_BYTES,
    decode_message,
    encode_frame,
)
from echoic.protocol.frames import (
    ActionItem,
    Audio,
    Auth,
    ClientFrame,
    Commit,
    Config,
    Configured,
    DiarizationSummary,
    Error,
    Final,
    FullTranscript,
    Insight,
    InsightError,
    InsightSource,
    Partial,
    Ping,
    Pong,
    Reset,
    Resumed,
    SegmentSpeaker,
    ServerFrame,
    Speaker,
    Status,
    Stop,
    Warning,  # the protocol's word  # noqa: A004  # the protocol's word
    Word,
)
from echoic.protocol.pcm import decode_pcm
from support.random_messages import generate_random_messages

MIB = 2**20

#: One message for each frame a client can send; a new class without one fails below.
MESSAGES: dict[type[ClientFrame], tuple[str | bytes, ClientFrame]] = {
    Config: (
        '{"type": "config", "model": "parakeet", "sample_rate": 16000, "insights": {"enabled": true}}',
        Config({"model": "parakeet", "sample_rate": 16_000, "insights": {"enabled": True}}),
    ),
    Audio: ('{"type": "audio", "data": "AAAAPw=="}', Audio(b"\x00\x00\x00\x3f")),
    Commit: ('{"type": "commit"}', Commit()),
    Reset: ('{"type": "reset"}', Reset()),
    Stop: ('{"type": "stop"}', Stop()),
    Ping: ('{"type": "ping"}', Ping()),
    Auth: ('{"type": "auth", "token": "key"}', Auth("key")),
}

A_FINAL = Final(
    text="turn it on",
    segment_id=2,
    segment_start=2.0,
    segment_end=3.5,
    chunk_duration=2.0,
    overlap=0.5,
    chunk_start=1.5,
    chunk_end=3.5,
    new_audio_duration=1.5,
    cumulative_audio=3.5,
)

#: Each frame a server can send, with the JSON that the protocol says; a new class without one fails below.
FRAMES: dict[type[ServerFrame], tuple[ServerFrame, dict[str, object]]] = {
    Partial: (
        Partial(
            text="turn",
            segment_id=1,
            segment_start=0.0,
            segment_end=0.8,
            buffer_duration=0.8,
            cumulative_audio=0.0,
        ),
        {
            "type": "partial",
            "text": "turn",
            "is_final": False,
            "segment_id": 1,
            "segment_start": 0.0,
            "segment_end": 0.8,
            "buffer_duration": 0.8,
            "cumulative_audio": 0.0,
        },
    ),
    Final: (
        A_FINAL,
        {
            "type": "final",
            "text": "turn it on",
            "is_final": True,
            "segment_id": 2,
            "segment_start": 2.0,
            "segment_end": 3.5,
            "chunk_duration": 2.0,
            "overlap": 0.5,
            "chunk_start": 1.5,
            "chunk_end": 3.5,
            "new_audio_duration": 1.5,
            "cumulative_audio": 3.5,
        },
    ),
    FullTranscript: (FullTranscript(text="Ω 😀"), {"type": "full_transcript", "text": "Ω 😀"}),
    DiarizationSummary: (
        DiarizationSummary(
            speaker_map=(SegmentSpeaker(1, 0, "SPEAKER_00"),),
            audio_path=None,
            speakers=(Speaker(0, "SPEAKER_00"),),
        ),
        {
            "type": "diarization_summary",
            "speaker_map": [{"segment_id": 1, "speaker_id": 0, "speaker_label": "SPEAKER_00"}],
            "audio_path": None,
            "speakers": [{"speaker_id": 0, "label": "SPEAKER_00"}],
        },
    ),
    Insight: (
        Insight(
            insight_id="i1",
            stage="live",
            provider="rules",
            model="extractive",
            summary=("We ship.",),
            action_items=(ActionItem("Ship it", "Ann"), ActionItem("Tell them")),
            decisions=("To ship.",),
            topics=("ship",),
            source=InsightSource((1, 4), 0.0, 6.5, 4),
        ),
        {
            "type": "insight",
            "insight_id": "i1",
            "stage": "live",
            "provider": "rules",
            "model": "extractive",
            "summary": ["We ship."],
            "action_items": [
                {"description": "Ship it", "owner": "Ann"},
                {"description": "Tell them", "owner": None},
            ],
            "decisions": ["To ship."],
            "topics": ["ship"],
            "source": {"segment_range": [1, 4], "start": 0.0, "end": 6.5, "total_segments": 4},
        },
    ),
    InsightError: (
        InsightError(stage="final", message="Not now."),
        {"type": "insight_error", "stage": "final", "message": "Not now."},
    ),
    Configured: (
        Configured(
            model="parakeet",
            model_variant="standard",
            active_model="a model",
            sample_rate=16_000,
            channels=1,
            audio_format="f32le",
            chunk_duration=2.0,
            overlap_duration=0.5,
            language=None,
            enable_partial=True,
            partial_interval=0.5,
            min_partial_duration=0.5,
            word_timestamps=False,
            diarization=False,
            insights=False,
            ignored=("colour",),
        ),
        {
            "type": "status",
            "state": "configured",
            "model": "parakeet",
            "model_variant": "standard",
            "active_model": "a model",
            "sample_rate": 16_000,
            "channels": 1,
            "audio_format": "f32le",
            "chunk_duration": 2.0,
            "overlap_duration": 0.5,
            "language": None,
            "enable_partial": True,
            "partial_interval": 0.5,
            "min_partial_duration": 0.5,
            "word_timestamps": False,
            "diarization": False,
            "insights": False,
            "ignored": ["colour"],
        },
    ),
    Status: (Status(state="reset"), {"type": "status", "state": "reset"}),
    Resumed: (
        Resumed(session="s", received_messages=3, received_samples=16_000),
        {
            "type": "status",
            "state": "resumed",
            "session": "s",
            "received_messages": 3,
            "received_samples": 16_000,
        },
    ),
    Warning: (
        Warning(
            code="model_fallback",
            message="Another one.",
            fallback=True,
            original_model="a",
            active_model="b",
            lag=4.5,
        ),
        {
            "type": "warning",
            "code": "model_fallback",
            "message": "Another one.",
            "fallback": True,
            "original_model": "a",
            "active_model": "b",
            "lag": 4.5,
        },
    ),
    Error: (
        Error(
            code="quota_exceeded",
            message="Enough.",
            detail={"quota": "daily_minutes", "limit": 30, "used": 30.5},
        ),
        {
            "type": "error",
            "code": "quota_exceeded",
            "message": "Enough.",
            "error_type": "quota_exceeded",
            "quota": "daily_minutes",
            "limit": 30,
            "used": 30.5,
        },
    ),
    Pong: (Pong(), {"type": "pong"}),
}


def decode_error(message: str | bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        decode_message(message)
    return caught.value


# ---- what a client sends


def test_every_client_frame_has_an_example() -> None:
    assert set(MESSAGES) == set(get_args(ClientFrame))


@pytest.mark.parametrize(("message", "frame"), MESSAGES.values())
def test_a_message_is_decoded_to_its_frame(message: str, frame: ClientFrame) -> None:
    assert decode_message(message) == frame


@given(st.binary(max_size=64))
def test_binary_and_base64_audio_are_equal(data: bytes) -> None:
    text = json.dumps({"type": "audio", "data": base64.b64encode(data).decode()})
    assert decode_message(data) == decode_message(text) == Audio(data)


def test_unknown_keys_are_ignored_or_left_to_the_config() -> None:
    assert decode_message('{"x": [{"y": 1e999}], "type": "ping", "data": 3}') == Ping()
    assert decode_message('{"type": "config", "colour": [1], "data": 3}') == Config(
        {"colour": [1], "data": 3}
    )


def test_the_last_of_duplicate_keys_counts() -> None:
    assert decode_message('{"type": "stop", "type": "config", "model": "a", "model": "b"}') == Config(
        {"model": "b"}
    )


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "\x00",
        "not json",
        "[",
        "{",
        '{"type": "ping"',
        '{"type": "ping"} x',
        "{'type': 'ping'}",
        '{"type": "ping",}',
        '{"type": NaN}',
        '{"type": "config", "sample_rate": Infinity}',
        '{"type": "config", "sample_rate": 1e999}',
        '{"type": "config", "sample_rate": ' + "9" * 5000 + "}",
        '{"type": "\\ud800"}',
        '{"type": "\\udc00\\ud800"}',
        '{"type": "ping", "x": "\ud800"}',
        '{"type": "a\x01"}',
        "\ufeff{}",
        "null",
        "3",
        '"ping"',
        '["type", "ping"]',
        "[" * 8 * MIB,
        '{"a":' * MIB,
        '{"type": "config", "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda message: repr(message[:32]),
)
def test_a_message_that_is_no_json_object_is_bad_json(message: str) -> None:
    error = decode_error(message)
    assert error.code is ErrorCode.BAD_JSON
    assert error.message.endswith(".")


@pytest.mark.parametrize(
    "message", ["{}", '{"type": null}', '{"type": 3}', '{"type": ["ping"]}', '{"Type": "x"}']
)
def test_a_missing_type_is_named(message: str) -> None:
    error = decode_error(message)
    assert (error.code, error.detail) == (ErrorCode.MISSING_FIELD, {"field": "type"})


@pytest.mark.parametrize(
    ("name", "shown"),
    [("", ""), ("PING", "PING"), ("a\x00\n\u202eb", "a\ufffd\ufffd\ufffdb"), ("é" * 1000, "é" * 40)],
)
def test_an_unknown_type_is_shortened_and_printable(name: str, shown: str) -> None:
    error = decode_error(json.dumps({"type": name}))
    assert error.code is ErrorCode.UNKNOWN_TYPE
    assert error.detail == {"received": shown}
    assert repr(shown) in error.message


@pytest.mark.parametrize(
    ("message", "field"),
    [('{"type": "audio"}', "data"), ('{"type": "auth"}', "token"), ('{"type": "auth", "token": 5}', "token")],
)
def test_a_missing_key_is_named(message: str, field: str) -> None:
    error = decode_error(message)
    assert (error.code, error.detail) == (ErrorCode.MISSING_FIELD, {"field": field})


@pytest.mark.parametrize("data", [None, 3, True, [0.5], {"a": 1}])
def test_audio_data_must_be_a_string(data: object) -> None:
    assert decode_error(json.dumps({"type": "audio", "data": data})).code is ErrorCode.BAD_AUDIO


@pytest.mark.parametrize(
    "data",
    [
        "A",
        "AA",
        "AAA",
        "AA=",
        "A===",
        "====",
        "AAAA=",
        "AAAA====",
        "=AAA",
        "A=AA",
        "AA==AA==",
        "AAAA\n",
        "AA AA===",
        "AA-_",
        "ÄAAA",
        "%%%%",
        "data:audio/wav;base64,AAAA",
    ],
)
def test_audio_data_must_be_standard_base64(data: str) -> None:
    assert decode_error(json.dumps({"type": "audio", "data": data})).code is ErrorCode.BAD_AUDIO


def test_empty_audio_is_audio() -> None:
    assert decode_message('{"type": "audio", "data": ""}') == decode_message(b"") == Audio(b"")


@pytest.mark.parametrize(
    "message",
    [
        bytes(MAX_MESSAGE_BYTES + 1),
        '{"type": "ping"}' + " " * MAX_MESSAGE_BYTES,
        '"' + "é" * (MAX_MESSAGE_BYTES // 2) + '"',
        "\ud800" * (MAX_MESSAGE_BYTES // 3 + 1),
    ],
    ids=["binary", "text", "text, counted in bytes", "surrogates"],
)
def test_a_message_beyond_8_mib_is_too_large(message: str | bytes) -> None:
    error = decode_error(message)
    assert (error.code, error.detail) == (ErrorCode.FRAME_TOO_LARGE, {"limit": 8 * MIB})


def test_a_message_of_8_mib_is_not_too_large() -> None:
    assert decode_message(bytes(MAX_MESSAGE_BYTES)) == Audio(bytes(MAX_MESSAGE_BYTES))
    head, end = '{"type": "audio", "data": "', '"}'
    data = "A" * ((MAX_MESSAGE_BYTES - len(head) - len(end)) // 4 * 4)
    assert decode_message(head + data + end) == Audio(bytes(len(data) // 4 * 3))
    text = '{"type": "ping", "x": "' + "é" * (MAX_MESSAGE_BYTES // 2 - 13) + '"}'
    assert decode_message(text) == Ping()


def test_a_config_over_the_maximum_length_is_invalid() -> None:
    message = '{"type": "config", "x": [' + "{}," * (MAX_CONFIG_CHARACTERS // 3) + "{}]}"
    assert decode_error(message).code is ErrorCode.INVALID_CONFIG


def test_a_config_has_a_maximum_depth() -> None:
    def nested(levels: int) -> str:
        return '{"type": "config", "x": ' + "[" * levels + "]" * levels + "}"

    assert isinstance(decode_message(nested(MAX_CONFIG_DEPTH - 1)), Config)
    assert decode_error(nested(MAX_CONFIG_DEPTH)).code is ErrorCode.BAD_JSON


def test_a_token_is_in_no_repr_and_no_error() -> None:
    assert "key" not in repr(decode_message('{"type": "auth", "token": "key"}'))
    assert "key" not in decode_error('{"type": "auth", "token": ["key"]}').message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TYPES = st.sampled_from(["config", "audio", "commit", "reset", "stop", "ping", "auth"])
MESSAGE_LIKE = st.fixed_dictionaries(
    {"type": TYPES | JSON}, optional={"data": JSON, "token": JSON, "sample_rate": JSON}
)
TEXT = st.text(st.characters(exclude_categories=[]))


def build_error_frame(error: ProtocolError) -> Error:
    return Error(code=error.code, message=error.message, detail=error.detail)


def check_frame_or_error(message: str | bytes) -> None:
    """Decode a message and check that the frame or error can be encoded."""
    try:
        frame: ClientFrame | Error = decode_message(message)
    except ProtocolError as error:
        frame = build_error_frame(error)
        body = json.loads(encode_frame(frame))
        assert body["error_type"] == frame.code
    assert isinstance(frame, (*get_args(ClientFrame), Error))


@given(TEXT)
@example('{"type": "\ud800')
def test_any_text_is_a_frame_or_an_error(message: str) -> None:
    check_frame_or_error(message)


@given(st.binary())
def test_any_bytes_are_a_frame_or_an_error(message: bytes) -> None:
    check_frame_or_error(message)
    check_frame_or_error(message.decode("latin-1"))
    check_frame_or_error(message.decode(errors="surrogateescape"))


@given(JSON | MESSAGE_LIKE, st.booleans())
@settings(max_examples=200)
def test_any_json_is_a_frame_or_an_error(value: object, ascii_only: bool) -> None:  # drawn  # noqa: FBT001  # drawn
    check_frame_or_error(json.dumps(value, ensure_ascii=ascii_only))


@given(st.sampled_from([str(message) for message, _ in MESSAGES.values()]), st.data())
def test_any_damaged_message_is_a_frame_or_an_error(message: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(start, len(message)))
    check_frame_or_error(message[:start] + data.draw(TEXT) + message[end:])


# ---- what the server sends


def test_every_server_frame_has_an_example() -> None:
    assert set(FRAMES) == set(get_args(ServerFrame))


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=lambda value: type(value).__name__)
def test_a_frame_is_encoded_as_its_json(frame: ServerFrame, expected: dict[str, object]) -> None:
    text = encode_frame(frame)
    assert json.loads(text) == expected
    assert list(json.loads(text))[0] == "type"  # noqa: RUF015  # the order matters to a reader


@pytest.mark.parametrize("frame", [frame for frame, _ in FRAMES.values() if not isinstance(frame, Error)])
def test_only_unset_keys_are_omitted(frame: ServerFrame) -> None:
    unset = {field.name for field in fields(frame) if getattr(frame, field.name) is UNSET}
    assert set(json.loads(encode_frame(frame))) == {field.name for field in fields(frame)} - unset


@pytest.mark.parametrize("kind", FRAMES)
def test_only_optional_keys_may_be_left_unset(kind: type[ServerFrame]) -> None:
    optional = {field.name for field in fields(kind) if field.default is UNSET}
    required = {field.name for field in fields(kind) if field.default is MISSING}
    assert not optional & required
    assert optional <= {
        "lag",
        "spoken_end",
        "spoken_start",
        "words",
        "speaker_id",
        "speaker_label",
        "fallback",
        "original_model",
        "active_model",
        "resumable",
        "session",
        "resume_token",
        "resume_seconds",
    }


def test_a_final_is_encoded_with_words_and_speakers() -> None:
    frame = Final(
        text="on",
        segment_id=1,
        segment_start=0.0,
        segment_end=1.0,
        chunk_duration=1.0,
        overlap=0.0,
        chunk_start=0.0,
        chunk_end=1.0,
        new_audio_duration=1.0,
        cumulative_audio=1.0,
        words=(Word("on", 0.25, 0.5), Word("it", 0.5, 0.75, 0.9, 0)),
        speaker_id=0,
        speaker_label="SPEAKER_00",
    )
    body = json.loads(encode_frame(frame))
    assert body["words"] == [
        {"word": "on", "start": 0.25, "end": 0.5},
        {"word": "it", "start": 0.5, "end": 0.75, "confidence": 0.9, "speaker_id": 0},
    ]
    assert (body["speaker_id"], body["speaker_label"]) == (0, "SPEAKER_00")


def test_a_warning_without_details_has_no_further_keys() -> None:
    text = encode_frame(Warning(code="falling_behind", message="Slow."))
    assert json.loads(text) == {"type": "warning", "code": "falling_behind", "message": "Slow."}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_is_encoded_as_an_error_frame(code: ErrorCode) -> None:
    body = json.loads(encode_frame(Error(code=code, message="A sentence.")))
    assert body == {"type": "error", "code": code, "message": "A sentence.", "error_type": code}


def test_a_detail_never_overrides_the_keys_of_an_error() -> None:
    detail = {"type": "final", "code": "x", "error_type": "y", "field": "data"}
    body = json.loads(encode_frame(Error(code="bad_audio", message="No.", detail=detail)))
    assert body == {
        "type": "error",
        "code": "bad_audio",
        "message": "No.",
        "error_type": "bad_audio",
        "field": "data",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_not_encoded(value: float) -> None:
    with pytest.raises(ValueError, match="Frame Error contains a number that is not finite"):
        encode_frame(Error(code="bad_audio", message="No.", detail={"limit": value}))
    words = (Word("on", 0.0, value),)
    frame = Final(**{field.name: getattr(A_FINAL, field.name) for field in fields(Final)} | {"words": words})
    with pytest.raises(ValueError, match="Frame Final contains a number that is not finite"):
        encode_frame(frame)


def classify_message(message: str | bytes) -> str:
    try:
        frame = decode_message(message)
        if isinstance(frame, Audio):
            decode_pcm(frame.data, "f32le", 1)
    except ProtocolError as error:
        return error.code
    return type(frame).__name__


def test_garbage_is_reproducible_by_its_seed() -> None:
    assert list(islice(generate_random_messages(7), 500)) == list(islice(generate_random_messages(7), 500))
    assert list(islice(generate_random_messages(7), 500)) != list(islice(generate_random_messages(8), 500))


def test_garbage_reaches_every_refusal() -> None:
    outcomes = Counter(classify_message(message) for message in islice(generate_random_messages(1), 6000))
    refusals = {
        ErrorCode.BAD_JSON,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.MISSING_FIELD,
        ErrorCode.BAD_AUDIO,
    }
    assert set(outcomes) == refusals | {"Audio", "Auth", "Commit", "Config", "Ping", "Reset"}
    assert min(outcomes.values()) >= 20

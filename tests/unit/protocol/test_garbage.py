"""The garbage that sessions are fuzzed with is refused, never a crash, and reaches every refusal."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from echoic.errors import ErrorCode, ProtocolError
from echoic.protocol.codec import decode_message
from echoic.protocol.frames import Audio
from echoic.protocol.pcm import decode_pcm
from support.random_messages import generate_random_messages


def outcome(message: str | bytes) -> str:
    try:
        frame = decode_message(message)
        if isinstance(frame, Audio):
            decode_pcm(frame.data, "f32le", 1)
    except ProtocolError as error:
        return error.code
    return type(frame).__name__


def test_garbage_is_the_same_for_a_seed() -> None:
    assert list(islice(generate_random_messages(7), 500)) == list(islice(generate_random_messages(7), 500))
    assert list(islice(generate_random_messages(7), 500)) != list(islice(generate_random_messages(8), 500))


def test_garbage_is_a_frame_or_refused_and_reaches_every_refusal() -> None:
    outcomes = Counter(outcome(message) for message in islice(generate_random_messages(1), 6000))
    refusals = {
        ErrorCode.BAD_JSON,
        ErrorCode.UNKNOWN_TYPE,
        ErrorCode.MISSING_FIELD,
        ErrorCode.BAD_AUDIO,
    }
    assert set(outcomes) == refusals | {"Audio", "Auth", "Commit", "Config", "Ping", "Reset"}
    assert min(outcomes.values()) >= 20

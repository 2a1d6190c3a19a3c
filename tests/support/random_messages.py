"""Random messages of a broken or hostile client, reproducible by their seed."""

from __future__ import annotations

import base64
import json
import random
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Message = str | bytes

_MESSAGE_TYPES = ["config", "audio", "commit", "reset", "ping", "auth"]
#: Inserted verbatim into JSON: some are not JSON, some are out of range.
_ODD_NUMBERS = [
    "1e999",
    "-1e999",
    "1e-999",
    "NaN",
    "-Infinity",
    "9" * 30,
    "9" * 400,
    "9" * 5000,
    "-0",
    "0.1e1",
    "01",
]
_ODD_STRINGS = [
    "",
    " ",
    "\x00",
    "\u202e",
    "\ufeff",
    "😀" * 9,
    "é" * 200,
    "a" * 5000,
    "../../etc",
    "nan",
    "16000",
]
_ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    0.0,
    -0.0,
    1e308,
    2**63,
    -(10**30),
    [],
    [[]],
    {},
    {"a": {}},
    *_ODD_STRINGS,
]
#: The keys of a config, with invalid values and some valid ones.
_CONFIG_VALUES: dict[str, list[Any]] = {
    "model": ["parakeet", "whisper-1", "no-such-model", "x" * 129],
    "model_variant": ["onnx", "ONNX", "cuda"],
    "variant": ["mlx", "tpu"],
    "sample_rate": [8000, 7999, 192_001, 44_100.5, "44100", 16_000.0],
    "chunk_duration": [0.2, 0.19, 60.1, 1e-300, 59.999],
    "overlap_duration": [0, -0.1, 60, 2.0, 59.999],
    "language": ["en", "xx" * 99, 5],
    "enable_partial": [1, "yes"],
    "partial_interval": [0.1, 0, -3, 61],
    "min_partial_duration": [0, -1, 61],
    "word_timestamps": [1, "true"],
    "audio_format": ["f32le", "s16le", "mp3", "F32LE "],
    "channels": [1, 8, 0, 9, 1.5, "2"],
    "diarization": [True, {"enabled": 3}, {"num_speakers": -1}, {"store_audio": "/etc/passwd"}],
    "diarize": [True, "no"],
    "insights": [{}, {"enabled": None}, {"interval_seconds": -1}, "on"],
    "vocabulary": [{"terms": ["C++"]}, {"terms": 5}, {"replacements": [1]}, ["a"]],
    "colour": [1],
}


def generate_random_messages(seed: int) -> Iterator[Message]:
    """Yield endless messages: bad JSON, wrong types, bad audio, bad settings, and valid ones between.

    There is no ``stop`` among them, so the session stays open. Each is shorter than 1 MiB; messages of
    8 MiB end a session and have tests of their own.
    """
    rng = random.Random(seed)  # noqa: S311  # test data
    while True:
        yield rng.choice(_BUILDERS)(rng)


def _build_good_message(rng: random.Random) -> Message:
    good: list[Message] = [
        json.dumps({"type": rng.choice(["commit", "reset", "ping"])}),
        json.dumps({"type": "config", "sample_rate": rng.choice([8000, 16_000, 44_100])}),
        _build_audio_message(_build_samples(rng)),
        _build_samples(rng),
    ]
    return rng.choice(good)


def _build_samples(rng: random.Random) -> bytes:
    count = rng.choice([0, 1, 160, 1600])
    return struct.pack(f"<{count}f", *(rng.uniform(-1.5, 1.5) for _ in range(count)))


def _build_audio_message(data: bytes) -> str:
    return json.dumps({"type": "audio", "data": base64.b64encode(data).decode()})


def _build_text_noise(rng: random.Random) -> Message:
    alphabet = rng.choice(['{}[]",:0123456789.eE+-truefalsn\\u ', "aé😀\x00\x1f\ufffd\u2028", '{"type": }'])
    return "".join(rng.choices(alphabet, k=rng.randrange(80)))


def _build_damaged_message(rng: random.Random) -> Message:
    """Return a valid message with a part removed, inserted or repeated."""
    message = str(
        _build_audio_message(_build_samples(rng)) if rng.random() < 0.3 else _build_config_message(rng)
    )
    start = rng.randrange(len(message))
    end = rng.choice([start, start + 1, len(message)])
    put_in = rng.choice(["", "\x00", '"', "}", "{", ",", "\\", "\\ud800", "\\u0000", message, "1e999"])
    return message[:start] + put_in + message[end:]


def _build_wrong_shape(rng: random.Random) -> Message:
    return json.dumps(
        rng.choice([*_ODD_VALUES, ["type", "ping"], {"Type": "ping"}, {"type": rng.choice(_ODD_VALUES)}])
    )


def _build_unknown_type(rng: random.Random) -> Message:
    name = rng.choice([*_ODD_STRINGS, "PING", "final", "pong", "error", "__class__", "config "])
    return json.dumps({"type": name, "data": rng.choice(_ODD_VALUES)}, ensure_ascii=rng.random() < 0.5)


def _build_odd_number(rng: random.Random) -> Message:
    key = rng.choice(["type", "data", "token", "x", *_CONFIG_VALUES])
    return f'{{"type": "{rng.choice(_MESSAGE_TYPES)}", "{key}": {rng.choice(_ODD_NUMBERS)}}}'


def _build_deep_nesting(rng: random.Random) -> Message:
    levels = rng.choice([5, 15, 17, 100, 500, 990, 1100, 20_000])
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
    body = opening * levels + "0" + closing * rng.choice([0, levels])
    key = rng.choice(["type", "data", "insights", "x"])
    return rng.choice([body, f'{{"type": "{rng.choice(_MESSAGE_TYPES)}", "{key}": {body}}}'])


def _build_wrong_field(rng: random.Random) -> Message:
    kind = rng.choice(["audio", "auth"])
    key = rng.choice(["data", "token", "Data"])
    return json.dumps({"type": kind, key: rng.choice(_ODD_VALUES)})


def _build_bad_base64(rng: random.Random) -> Message:
    data = base64.b64encode(_build_samples(rng) or bytes(4)).decode()
    place = rng.randrange(len(data))
    bad = rng.choice(
        [data[:place], data[:place] + "=" + data[place:], data + "=", data + "====", data + "\n"]
    )
    return json.dumps(
        {"type": "audio", "data": rng.choice([bad, data[:place] + rng.choice("-_ %é\x00") + data[place:]])}
    )


def _build_odd_length(rng: random.Random) -> Message:
    data = rng.randbytes(rng.choice([1, 2, 3, 5, 7, 33, 6401]))
    return data if rng.random() < 0.5 else _build_audio_message(data)


def _build_odd_samples(rng: random.Random) -> Message:
    """NaN, infinities, denormals, huge values, or random bits."""
    odd = [float("nan"), float("inf"), float("-inf"), 1e-45, -0.0, 3.4e38]
    values = [rng.choice([*odd, 0.0, 0.5]) for _ in range(rng.randrange(1, 200))]
    data = rng.choice([struct.pack(f"<{len(values)}f", *values), rng.randbytes(400)])
    return data if rng.random() < 0.5 else _build_audio_message(data)


def _build_config_message(rng: random.Random) -> Message:
    keys = rng.sample(sorted(_CONFIG_VALUES), rng.choice([1, 1, 1, 2, 5]))
    values = {
        key: rng.choice([*_CONFIG_VALUES[key], *_CONFIG_VALUES[key], rng.choice(_ODD_VALUES)]) for key in keys
    }
    return json.dumps({"type": "config", **values}, ensure_ascii=rng.random() < 0.5)


def _build_many_keys(rng: random.Random) -> Message:
    return json.dumps({"type": "config"} | {f"{rng.choice(_ODD_STRINGS)[:9]}{n}": n for n in range(300)})


_BUILDERS: list[Callable[[random.Random], Message]] = [
    _build_good_message,
    _build_text_noise,
    _build_damaged_message,
    _build_wrong_shape,
    _build_unknown_type,
    _build_odd_number,
    _build_deep_nesting,
    _build_wrong_field,
    _build_bad_base64,
    _build_odd_length,
    _build_odd_samples,
    _build_config_message,
    _build_config_message,
    _build_many_keys,
]

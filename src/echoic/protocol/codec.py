"""Decodes client messages to frames and encodes server frames as JSON."""

from __future__ import annotations

import math
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import TypeVar

import msgspec
from msgspec import UNSET

from echoic.errors import Detail, ErrorCode, ProtocolError
from echoic.protocol.frames import (
    Audio,
    Auth,
    ClientFrame,
    Commit,
    Config,
    Error,
    Ping,
    Reset,
    ServerFrame,
    Stop,
)

#: Maximum size of a message in bytes, text (as UTF-8) or binary.
MAX_MESSAGE_BYTES = 8 * 2**20
#: Maximum length of a config in characters: parsed JSON can take thirty times its length in memory.
MAX_CONFIG_CHARACTERS = 2**20
#: Maximum nesting of a config. Ours are three levels deep; code that walks a config may recurse.
MAX_CONFIG_DEPTH = 16
#: Characters of an unknown type that the error repeats.
_MAX_SHOWN_CHARACTERS = 40

_T = TypeVar("_T")


class _MessageProbe(msgspec.Struct):
    """The keys that determine the frame; all other keys are skipped without building objects."""

    type: object = UNSET
    data: object = UNSET
    token: object = UNSET


_PROBE_DECODER = msgspec.json.Decoder(_MessageProbe)
_OBJECT_DECODER = msgspec.json.Decoder(dict[str, object])
_ENCODER = msgspec.json.Encoder()


def decode_message(message: str | bytes) -> ClientFrame:
    """Decode a client message: text by its ``type``, binary as audio.

    Raises:
        ProtocolError: ``bad_json``, ``missing_field`` (with ``field``), ``unknown_type``, ``bad_audio``,
            ``invalid_config`` (too long) or ``frame_too_large``. Raises no other exception for any input.
    """
    if _is_too_large(message):
        raise ProtocolError(
            ErrorCode.FRAME_TOO_LARGE,
            f"This message is longer than the maximum of {MAX_MESSAGE_BYTES} bytes.",
            limit=MAX_MESSAGE_BYTES,
        )
    if not isinstance(message, str):
        return Audio(message)
    probe = _decode_json(_PROBE_DECODER, message)
    if not isinstance(probe.type, str):
        raise _build_missing_error("type")
    parse = _PARSERS.get(probe.type)
    if parse is None:
        shown = _shorten_name(probe.type)
        raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"Unknown message type {shown!r}.", received=shown)
    return parse(probe, message)


def encode_frame(frame: ServerFrame) -> str:
    """Encode a frame as JSON text; keys that are ``UNSET`` are omitted.

    Raises:
        ValueError: The frame contains a number that JSON cannot represent (NaN or infinity).
    """
    body = _build_error_body(frame) if isinstance(frame, Error) else frame
    if not all(map(math.isfinite, _iterate_floats(frame))):
        raise ValueError(f"Frame {type(frame).__name__} contains a number that is not finite.")
    return _ENCODER.encode(body).decode()


def _is_too_large(message: str | bytes) -> bool:
    if len(message) > MAX_MESSAGE_BYTES:
        return True
    if not isinstance(message, str) or message.isascii() or 4 * len(message) <= MAX_MESSAGE_BYTES:
        return False
    return len(message.encode(errors="surrogatepass")) > MAX_MESSAGE_BYTES


def _decode_json(decoder: msgspec.json.Decoder[_T], message: str) -> _T:
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        raise _build_json_error("A message must be a JSON object; numbers must fit a double.") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _build_json_error("This message is not valid JSON.") from error
    except RecursionError as error:
        raise _build_json_error("This message is nested too deeply.") from error


def _parse_audio(probe: _MessageProbe, _: str) -> Audio:
    data = probe.data
    if data is UNSET:
        raise _build_missing_error("data")
    if not isinstance(data, str):
        raise _build_audio_error("The data of an audio message must be a base64 string.")
    if len(data) % 4 or data.endswith("==="):  # wrong padding that strict_mode accepts
        raise _build_audio_error("The base64 data of this audio message has wrong padding or is truncated.")
    try:
        return Audio(a2b_base64(data, strict_mode=True))
    except ValueError as error:
        raise _build_audio_error("The data of this audio message is not standard base64.") from error


def _parse_config(_: _MessageProbe, message: str) -> Config:
    if len(message) > MAX_CONFIG_CHARACTERS:
        raise ProtocolError(
            ErrorCode.INVALID_CONFIG,
            f"This config is longer than the maximum of {MAX_CONFIG_CHARACTERS} characters.",
            limit=MAX_CONFIG_CHARACTERS,
        )
    values = _decode_json(_OBJECT_DECODER, message)
    if _is_deeper_than(MAX_CONFIG_DEPTH, values):
        raise _build_json_error("This message is nested too deeply.")
    del values["type"]
    return Config(values)


def _parse_auth(probe: _MessageProbe, _: str) -> Auth:
    if not isinstance(probe.token, str):
        raise _build_missing_error("token")
    return Auth(probe.token)


_PARSERS: Mapping[str, Callable[[_MessageProbe, str], ClientFrame]] = MappingProxyType(
    {
        "audio": _parse_audio,
        "config": _parse_config,
        "auth": _parse_auth,
        "commit": lambda _probe, _message: Commit(),
        "reset": lambda _probe, _message: Reset(),
        "stop": lambda _probe, _message: Stop(),
        "ping": lambda _probe, _message: Ping(),
    }
)


def _is_deeper_than(levels: int, value: object) -> bool:
    level = [value]
    for _ in range(levels):
        level = [inner for outer in level for inner in _iterate_children(outer)]
    return any(isinstance(inner, dict | list) for inner in level)


def _iterate_children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _build_error_body(frame: Error) -> dict[str, Detail]:
    """Return the keys of an error frame; the detail comes last and overrides none of the others."""
    fixed: dict[str, Detail] = {
        "type": "error",
        "code": frame.code,
        "message": frame.message,
        "error_type": frame.code,
    }
    return {**fixed, **frame.detail, **fixed}


def _iterate_floats(frame: object) -> Iterator[float]:
    """Yield all floats of a frame, including nested dataclasses and the detail of an error."""
    for field in fields(frame):  # type: ignore[arg-type]  # every frame is a dataclass
        value = getattr(frame, field.name)
        if isinstance(value, float):
            yield value
        elif is_dataclass(value):
            yield from _iterate_floats(value)
        elif isinstance(value, Mapping):
            yield from (detail for detail in value.values() if isinstance(detail, float))
        elif isinstance(value, tuple):
            for part in value:
                if is_dataclass(part):
                    yield from _iterate_floats(part)


def _shorten_name(name: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name[:_MAX_SHOWN_CHARACTERS])


def _build_missing_error(field: str) -> ProtocolError:
    return ProtocolError(ErrorCode.MISSING_FIELD, f"This message needs a string in {field!r}.", field=field)


def _build_json_error(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_JSON, message)


def _build_audio_error(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_AUDIO, message)

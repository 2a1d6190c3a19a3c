"""Messages to frames, and frames to messages."""

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

#: Bytes of the longest message, text (as UTF-8) or binary.
MAX_MESSAGE_BYTES = 8 * 2**20
#: Characters of the longest config: JSON can take thirty times its length as objects.
MAX_CONFIG_CHARACTERS = 2**20
#: Levels of objects and lists in a config: ours are three deep, and whoever walks one may recurse.
MAX_CONFIG_DEPTH = 16
#: Characters of an unknown type that an error repeats.
_SHOWN = 40


_Shape = TypeVar("_Shape")


class _Probe(msgspec.Struct):
    """The keys of a message that decide what it is; the others are skipped without being built."""

    type: object = UNSET
    data: object = UNSET
    token: object = UNSET


_PROBE = msgspec.json.Decoder(_Probe)
_OBJECT = msgspec.json.Decoder(dict[str, object])
_ENCODER = msgspec.json.Encoder()


def decode_message(message: str | bytes) -> ClientFrame:
    """Return the frame that a client's message is: text by its ``type``, binary as audio.

    Raises:
        ProtocolError: ``bad_json``, ``missing_field`` (``field`` says which), ``unknown_type``,
            ``bad_audio``, ``invalid_config`` (too long) or ``frame_too_large``; nothing else, whatever comes.
    """
    if _too_large(message):
        raise ProtocolError(
            ErrorCode.FRAME_TOO_LARGE,
            f"A message may be {MAX_MESSAGE_BYTES} bytes long; this one is longer.",
            limit=MAX_MESSAGE_BYTES,
        )
    if not isinstance(message, str):
        return Audio(message)
    probe = _parse(_PROBE, message)
    if not isinstance(probe.type, str):
        raise _missing("type")
    read = _READERS.get(probe.type)
    if read is None:
        shown = _printable(probe.type)
        raise ProtocolError(ErrorCode.UNKNOWN_TYPE, f"No message has the type {shown!r}.", received=shown)
    return read(probe, message)


def encode_frame(frame: ServerFrame) -> str:
    """Return a frame as the JSON text that goes to the client; keys that are ``UNSET`` are left out.

    Raises:
        ValueError: A number in it is not finite: JSON has no word for it.
    """
    body = _error_body(frame) if isinstance(frame, Error) else frame
    if not all(map(math.isfinite, _floats(frame))):
        raise ValueError(f"A {type(frame).__name__} frame holds a number that is not finite.")
    return _ENCODER.encode(body).decode()


def _too_large(message: str | bytes) -> bool:
    if len(message) > MAX_MESSAGE_BYTES:
        return True
    if not isinstance(message, str) or message.isascii() or 4 * len(message) <= MAX_MESSAGE_BYTES:
        return False
    return len(message.encode(errors="surrogatepass")) > MAX_MESSAGE_BYTES


def _parse(decoder: msgspec.json.Decoder[_Shape], message: str) -> _Shape:
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        raise _bad_json("A message must be a JSON object, its numbers within a double's range.") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _bad_json("This message is not JSON.") from error
    except RecursionError as error:
        raise _bad_json("This message is nested too deeply.") from error


def _read_audio(probe: _Probe, _: str) -> Audio:
    data = probe.data
    if data is UNSET:
        raise _missing("data")
    if not isinstance(data, str):
        raise _bad_audio("The data of an audio message must be a base64 string.")
    if len(data) % 4 or data.endswith("==="):  # padding that strict_mode lets pass
        raise _bad_audio("The base64 of this audio message is padded wrongly or cut off.")
    try:
        return Audio(a2b_base64(data, strict_mode=True))
    except ValueError as error:
        raise _bad_audio("The data of this audio message is not standard base64.") from error


def _read_config(_: _Probe, message: str) -> Config:
    if len(message) > MAX_CONFIG_CHARACTERS:
        raise ProtocolError(
            ErrorCode.INVALID_CONFIG,
            f"A config may be {MAX_CONFIG_CHARACTERS} characters long; this one is longer.",
            limit=MAX_CONFIG_CHARACTERS,
        )
    values = _parse(_OBJECT, message)
    if _deeper_than(MAX_CONFIG_DEPTH, values):
        raise _bad_json("This message is nested too deeply.")
    del values["type"]
    return Config(values)


def _read_auth(probe: _Probe, _: str) -> Auth:
    if not isinstance(probe.token, str):
        raise _missing("token")
    return Auth(probe.token)


_READERS: Mapping[str, Callable[[_Probe, str], ClientFrame]] = MappingProxyType(
    {
        "audio": _read_audio,
        "config": _read_config,
        "auth": _read_auth,
        "commit": lambda _probe, _message: Commit(),
        "reset": lambda _probe, _message: Reset(),
        "stop": lambda _probe, _message: Stop(),
        "ping": lambda _probe, _message: Ping(),
    }
)


def _deeper_than(levels: int, value: object) -> bool:
    level = [value]
    for _ in range(levels):
        level = [inner for outer in level for inner in _contents(outer)]
    return any(isinstance(inner, dict | list) for inner in level)


def _contents(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _error_body(frame: Error) -> dict[str, Detail]:
    own: dict[str, Detail] = {
        "type": "error",
        "code": frame.code,
        "message": frame.message,
        "error_type": frame.code,
    }
    return {**own, **frame.detail, **own}


def _floats(frame: object) -> Iterator[float]:
    """Yield the floats that a frame, its parts or its detail hold."""
    for field in fields(frame):  # type: ignore[arg-type]  # every frame is a dataclass
        value = getattr(frame, field.name)
        if isinstance(value, float):
            yield value
        elif is_dataclass(value):
            yield from _floats(value)
        elif isinstance(value, Mapping):
            yield from (detail for detail in value.values() if isinstance(detail, float))
        elif isinstance(value, tuple):
            for part in value:
                if is_dataclass(part):
                    yield from _floats(part)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name[:_SHOWN])


def _missing(field: str) -> ProtocolError:
    return ProtocolError(
        ErrorCode.MISSING_FIELD, f"This message needs {field!r}, which is a string.", field=field
    )


def _bad_json(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_JSON, message)


def _bad_audio(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_AUDIO, message)

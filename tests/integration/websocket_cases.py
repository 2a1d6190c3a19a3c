"""Legal and illegal frames of RFC 6455, in the order of the Autobahn test suite's categories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.engines.scripted import draw_words
from support.raw_websocket import BINARY, CONT, PING, PONG, TEXT, build_close, build_fragments, build_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = b'{"type":"ping"}'
#: An odd text whose code points take one to four bytes.
WORDS = "κόσμε ö 𝄞"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Case:
    """Frames to send at once, and the expected answer."""

    name: str
    sent: tuple[bytes, ...]
    #: Payloads of the expected pongs.
    pongs: tuple[bytes, ...] = ()
    #: Types of the expected messages in order; codes of errors.
    types: tuple[str, ...] = ()
    #: The expected close code; None: the stream stays open.
    closes: int | None = None


def cases() -> Iterator[Case]:
    """Yield all cases."""
    yield from _framing()
    yield from _pings()
    yield from _reserved()
    yield from _fragmentation()
    yield from _utf8()
    yield from _closing()
    yield from _compression()


def _padded(size: int) -> bytes:
    """Return the protocol's ping, padded to ``size`` bytes."""
    return HELLO[:-1] + b" " * (size - len(HELLO)) + b"}"


def _framing() -> Iterator[Case]:
    yield Case("an empty text", (build_frame(TEXT),), types=("bad_json",))
    yield Case("an empty message of audio", (build_frame(BINARY),))
    for size in (15, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 100_000):
        yield Case(f"a text of {size} bytes", (build_frame(TEXT, _padded(size)),), types=("pong",))
    for longer in (1, 2):
        sent = build_frame(TEXT, HELLO, extra_length_steps=longer)
        yield Case(f"a length in a form {longer} larger than necessary", (sent,), types=("pong",))
    for size in (124, 125, 126, 127, 128, 65_535, 65_536):
        types = ("bad_audio",) if size % 4 else ()
        yield Case(f"audio of {size} bytes", (build_frame(BINARY, bytes(size)),), types=types)
    huge = build_frame(BINARY, bytes(126))[:1] + b"\xff" + (1 << 63).to_bytes(8) + bytes(4)
    yield Case("a 64-bit length with its highest bit set", (huge,), closes=1009)
    yield Case("a text that is not masked", (build_frame(TEXT, HELLO, is_masked=False),), closes=1002)
    yield Case("a ping that is not masked", (build_frame(PING, is_masked=False),), closes=1002)


def _pings() -> Iterator[Case]:
    yield Case("an empty ping", (build_frame(PING),), pongs=(b"",))
    yield Case("a ping of any bytes", (build_frame(PING, b"\x00\xff\xfe"),), pongs=(b"\x00\xff\xfe",))
    yield Case("a ping of 125 bytes", (build_frame(PING, b"p" * 125),), pongs=(b"p" * 125,))
    yield Case("a ping of 126 bytes", (build_frame(PING, b"p" * 126),), closes=1002)
    yield Case(
        "a ping in two fragments", (build_frame(PING, b"p", fin=False), build_frame(CONT, b"q")), closes=1002
    )
    yield Case("an unsolicited pong", (build_frame(PONG, b"p"),))
    yield Case("a pong of 126 bytes", (build_frame(PONG, b"p" * 126),), closes=1002)
    payloads = tuple(b"%d" % number for number in range(10))
    yield Case("ten pings", tuple(build_frame(PING, one) for one in payloads), pongs=payloads)


def _reserved() -> Iterator[Case]:
    for reserved in range(1, 8):
        for opcode in (TEXT, BINARY, PING):
            sent = build_frame(opcode, HELLO, reserved_bits=reserved)
            yield Case(f"reserved bits {reserved:03b} in opcode {opcode}", (sent,), closes=1002)
    sent_close = b"\xf8" + build_close(1000)[1:]
    yield Case("reserved bits in a close", (sent_close,), closes=1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"the reserved opcode {opcode}", (build_frame(opcode, b"x"),), closes=1002)


def _fragmentation() -> Iterator[Case]:
    first, last = build_frame(TEXT, HELLO[:7], fin=False), build_frame(CONT, HELLO[7:])
    yield Case("two fragments", (first, last), types=("pong",))
    yield Case(
        "a ping between fragments", (first, build_frame(PING, b"p"), last), pongs=(b"p",), types=("pong",)
    )
    yield Case("a pong between fragments", (first, build_frame(PONG, b"p"), last), types=("pong",))
    empty = build_frame(CONT, fin=False)
    sent = (build_frame(TEXT, fin=False), empty, build_frame(CONT, HELLO, fin=False), build_frame(CONT))
    yield Case("empty fragments", sent, types=("pong",))
    yield Case("a fragment a byte", tuple(build_fragments(TEXT, _padded(500), 1)), types=("pong",))
    pinged = tuple(piece + build_frame(PING, b"p") for piece in build_fragments(TEXT, _padded(20), 1))
    yield Case("a ping after each byte", pinged, pongs=(b"p",) * 20, types=("pong",))
    yield Case("a continuation of nothing", (build_frame(CONT, HELLO),), closes=1002)
    yield Case("an unfinished continuation of nothing", (build_frame(CONT, HELLO, fin=False),), closes=1002)
    yield Case("a continuation of a finished message", (first, last, build_frame(CONT, b"x")), closes=1002)
    yield Case("a text between fragments", (first, build_frame(TEXT, HELLO)), closes=1002)
    yield Case(
        "audio between fragments of a text", (first, build_frame(BINARY, bytes(4), fin=False)), closes=1002
    )
    audio = draw_words(["one", "two"]).tobytes()
    yield Case("audio whose fragments cut samples", tuple(build_fragments(BINARY, audio, 1_001)))


def _utf8() -> Iterator[Case]:
    words = json.dumps({"type": WORDS}, ensure_ascii=False).encode()
    yield Case("text beyond ASCII", (build_frame(TEXT, words),), types=("unknown_type",))
    split = tuple(build_fragments(TEXT, words, 1))
    yield Case("code points cut by fragments", split, types=("unknown_type",))
    for name, wrong in (
        ("a lone continuation byte", b"\x80"),
        ("an invalid byte", b"\xff"),
        ("an overlong slash", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("beyond the last code point", b"\xf4\x90\x80\x80"),
        ("a truncated code point", b"\xf0\x9d\x84"),
    ):
        yield Case(name, (build_frame(TEXT, b'{"type":"' + wrong + b'"}'),), closes=1007)
        pieces = tuple(build_fragments(TEXT, b'{"type":"' + wrong + b'"}', 3))
        yield Case(f"{name}, in fragments", pieces, closes=1007)
    for name, good in (("the highest code point", "\U0010ffff"), ("a non-character", "\ufffe")):
        yield Case(name, (build_frame(TEXT, f'{{"type":"{good}"}}'.encode()),), types=("unknown_type",))


def _closing() -> Iterator[Case]:
    yield Case("a close", (build_close(1000),), closes=1000)
    yield Case("a close with a reason", (build_close(1000, WORDS.encode()),), closes=1000)
    yield Case("a close with the longest reason", (build_close(1000, b"r" * 123),), closes=1000)
    yield Case("a close with too long a reason", (build_close(1000, b"r" * 124),), closes=1002)
    yield Case("a close of one byte", (build_close(reason=b"\x03"),), closes=1002)
    yield Case("a close with a reason that is not UTF-8", (build_close(1000, b"\xce\xba\xff"),), closes=1007)
    yield Case("two closes", (build_close(1000), build_close(1001)), closes=1000)
    yield Case("a text after the close", (build_close(1000), build_frame(TEXT, HELLO)), closes=1000)
    yield Case("a ping after the close", (build_close(1000), build_frame(PING)), closes=1000)
    yield Case(
        "a close between fragments", (build_frame(TEXT, b"{", fin=False), build_close(1000)), closes=1000
    )
    yield Case("a close in fragments", (build_frame(8, b"\x03\xe8", fin=False),), closes=1002)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"a close with {code}", (build_close(code),), closes=code)
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield Case(f"a close with {code}, which is not allowed", (build_close(code),), closes=1002)


def _compression() -> Iterator[Case]:
    """Compression is not offered, so nothing is ever inflated."""
    import zlib  # noqa: PLC0415  # used only here

    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield Case("a compressed bomb", (build_frame(TEXT, bomb[:-4], reserved_bits=4),), closes=1002)
    yield Case(
        "compressed data that is not deflate",
        (build_frame(TEXT, b"\xff" * 50, reserved_bits=4),),
        closes=1002,
    )

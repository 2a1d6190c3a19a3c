"""What a client may and may not say by RFC 6455, in the order of the Autobahn test suite's categories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoic.engines.scripted import draw
from support.raw_websocket import BINARY, CONT, PING, PONG, TEXT, close, fragments, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = b'{"type":"ping"}'
#: An odd text whose code points take one to four bytes.
WORDS = "κόσμε ö 𝄞"
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent in one go, and what must come of it.

    Attributes:
        name: Of the case.
        sent: The frames.
        pongs: Payloads of the pongs that must come.
        says: Types of the messages that must come, in their order; of errors their codes.
        closes: The close code that must come, or None: the stream goes on.
    """

    name: str
    sent: tuple[bytes, ...]
    pongs: tuple[bytes, ...] = ()
    says: tuple[str, ...] = ()
    closes: int | None = None


def cases() -> Iterator[Case]:
    """Yield all of them."""
    yield from _framing()
    yield from _pings()
    yield from _reserved()
    yield from _fragmentation()
    yield from _utf8()
    yield from _closing()
    yield from _compression()


def _padded(size: int) -> bytes:
    """Return a ping of the protocol that is so many bytes long."""
    return HELLO[:-1] + b" " * (size - len(HELLO)) + b"}"


def _framing() -> Iterator[Case]:
    yield Case("an empty text", (frame(TEXT),), says=("bad_json",))
    yield Case("an empty message of audio", (frame(BINARY),))
    for size in (15, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 100_000):
        yield Case(f"a text of {size} bytes", (frame(TEXT, _padded(size)),), says=("pong",))
    for longer in (1, 2):
        sent = frame(TEXT, HELLO, longer=longer)
        yield Case(f"a length written {longer} longer than need be", (sent,), says=("pong",))
    for size in (124, 125, 126, 127, 128, 65_535, 65_536):
        says = ("bad_audio",) if size % 4 else ()
        yield Case(f"audio of {size} bytes", (frame(BINARY, bytes(size)),), says=says)
    huge = frame(BINARY, bytes(126))[:1] + b"\xff" + (1 << 63).to_bytes(8) + bytes(4)
    yield Case("a length of 64 bits whose first is set", (huge,), closes=1009)
    yield Case("a text that is not masked", (frame(TEXT, HELLO, masked=False),), closes=1002)
    yield Case("a ping that is not masked", (frame(PING, masked=False),), closes=1002)


def _pings() -> Iterator[Case]:
    yield Case("an empty ping", (frame(PING),), pongs=(b"",))
    yield Case("a ping of any bytes", (frame(PING, b"\x00\xff\xfe"),), pongs=(b"\x00\xff\xfe",))
    yield Case("a ping of 125 bytes", (frame(PING, b"p" * 125),), pongs=(b"p" * 125,))
    yield Case("a ping of 126 bytes", (frame(PING, b"p" * 126),), closes=1002)
    yield Case("a ping in two fragments", (frame(PING, b"p", fin=False), frame(CONT, b"q")), closes=1002)
    yield Case("a pong that nobody asked for", (frame(PONG, b"p"),))
    yield Case("a pong of 126 bytes", (frame(PONG, b"p" * 126),), closes=1002)
    payloads = tuple(b"%d" % number for number in range(10))
    yield Case("ten pings", tuple(frame(PING, one) for one in payloads), pongs=payloads)


def _reserved() -> Iterator[Case]:
    for reserved in range(1, 8):
        for opcode in (TEXT, BINARY, PING):
            sent = frame(opcode, HELLO, reserved=reserved)
            yield Case(f"reserved bits {reserved:03b} in opcode {opcode}", (sent,), closes=1002)
    sent_close = b"\xf8" + close(1000)[1:]
    yield Case("reserved bits in a close", (sent_close,), closes=1002)
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield Case(f"the reserved opcode {opcode}", (frame(opcode, b"x"),), closes=1002)


def _fragmentation() -> Iterator[Case]:
    first, last = frame(TEXT, HELLO[:7], fin=False), frame(CONT, HELLO[7:])
    yield Case("two fragments", (first, last), says=("pong",))
    yield Case("a ping between fragments", (first, frame(PING, b"p"), last), pongs=(b"p",), says=("pong",))
    yield Case("a pong between fragments", (first, frame(PONG, b"p"), last), says=("pong",))
    empty = frame(CONT, fin=False)
    sent = (frame(TEXT, fin=False), empty, frame(CONT, HELLO, fin=False), frame(CONT))
    yield Case("empty fragments", sent, says=("pong",))
    yield Case("a fragment a byte", tuple(fragments(TEXT, _padded(500), 1)), says=("pong",))
    pinged = tuple(piece + frame(PING, b"p") for piece in fragments(TEXT, _padded(20), 1))
    yield Case("a ping after each byte", pinged, pongs=(b"p",) * 20, says=("pong",))
    yield Case("a continuation of nothing", (frame(CONT, HELLO),), closes=1002)
    yield Case("an unfinished continuation of nothing", (frame(CONT, HELLO, fin=False),), closes=1002)
    yield Case("a continuation of what is over", (first, last, frame(CONT, b"x")), closes=1002)
    yield Case("a text between fragments", (first, frame(TEXT, HELLO)), closes=1002)
    yield Case("audio between fragments of a text", (first, frame(BINARY, bytes(4), fin=False)), closes=1002)
    audio = draw(["one", "two"]).tobytes()
    yield Case("audio whose fragments cut samples", tuple(fragments(BINARY, audio, 1_001)))


def _utf8() -> Iterator[Case]:
    words = json.dumps({"type": WORDS}, ensure_ascii=False).encode()
    yield Case("text beyond ASCII", (frame(TEXT, words),), says=("unknown_type",))
    split = tuple(fragments(TEXT, words, 1))
    yield Case("code points cut by fragments", split, says=("unknown_type",))
    for name, wrong in (
        ("a lone continuation byte", b"\x80"),
        ("a byte that is never right", b"\xff"),
        ("an overlong slash", b"\xc0\xaf"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("beyond the last code point", b"\xf4\x90\x80\x80"),
        ("a code point that is cut short", b"\xf0\x9d\x84"),
    ):
        yield Case(name, (frame(TEXT, b'{"type":"' + wrong + b'"}'),), closes=1007)
        pieces = tuple(fragments(TEXT, b'{"type":"' + wrong + b'"}', 3))
        yield Case(f"{name}, in fragments", pieces, closes=1007)
    for name, good in (("the highest code point", "\U0010ffff"), ("a non-character", "\ufffe")):
        yield Case(name, (frame(TEXT, f'{{"type":"{good}"}}'.encode()),), says=("unknown_type",))


def _closing() -> Iterator[Case]:
    yield Case("a close", (close(1000),), closes=1000)
    yield Case("a close with a reason", (close(1000, WORDS.encode()),), closes=1000)
    yield Case("a close with the longest reason", (close(1000, b"r" * 123),), closes=1000)
    yield Case("a close with a longer one", (close(1000, b"r" * 124),), closes=1002)
    yield Case("a close of one byte", (close(reason=b"\x03"),), closes=1002)
    yield Case("a close whose reason is no text", (close(1000, b"\xce\xba\xff"),), closes=1007)
    yield Case("two closes", (close(1000), close(1001)), closes=1000)
    yield Case("a text after the close", (close(1000), frame(TEXT, HELLO)), closes=1000)
    yield Case("a ping after the close", (close(1000), frame(PING)), closes=1000)
    yield Case("a close between fragments", (frame(TEXT, b"{", fin=False), close(1000)), closes=1000)
    yield Case("a close in fragments", (frame(8, b"\x03\xe8", fin=False),), closes=1002)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"a close with {code}", (close(code),), closes=code)
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535):
        yield Case(f"a close with {code}, which is none", (close(code),), closes=1002)


def _compression() -> Iterator[Case]:
    """Compression is not offered, so nothing is ever inflated."""
    import zlib  # noqa: PLC0415  # a bomb is made here alone

    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(64 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield Case("a compressed bomb", (frame(TEXT, bomb[:-4], reserved=4),), closes=1002)
    yield Case("compressed data that is none", (frame(TEXT, b"\xff" * 50, reserved=4),), closes=1002)

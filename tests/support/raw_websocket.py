"""A WebSocket client that sends arbitrary bytes, also those that RFC 6455 forbids."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from support.timing import WAIT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
#: RFC 6455, section 5.2: the lengths that each form of the length field may hold at the most.
MAX_SHORT_LENGTH, MAX_MEDIUM_LENGTH = 125, 0xFFFF


@dataclass(frozen=True, slots=True)
class RawServerFrame:
    """A frame from the server."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The JSON of its payload."""
        found: dict[str, Any] = json.loads(self.payload)
        return found

    @property
    def close_code(self) -> int | None:
        """The code of a close frame, or None."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None


def build_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved_bits: int = 0,
    is_masked: bool = True,
    extra_length_steps: int = 0,
) -> bytes:
    """Return a client's frame.

    Args:
        opcode: 0 to 15.
        payload: Before it is masked.
        fin: Whether it is the last of its message.
        reserved_bits: The three reserved bits, 0 to 7.
        is_masked: RFC 6455 requires it of clients.
        extra_length_steps: Steps by which the form of the length exceeds the necessary one (7, 16, 64 bits).
    """
    size = len(payload)
    form = min(2, (size > MAX_SHORT_LENGTH) + (size > MAX_MEDIUM_LENGTH) + extra_length_steps)
    marks = struct.pack("!B", fin << 7 | reserved_bits << 4 | opcode)
    length = (size, 126, 127)[form] | is_masked << 7
    head = marks + struct.pack(("!B", "!BH", "!BQ")[form], *((length,) if form == 0 else (length, size)))
    if not is_masked:
        return head + payload
    key = os.urandom(4)
    return head + key + _mask_payload(payload, key)


def _mask_payload(payload: bytes, key: bytes) -> bytes:
    mask = np.frombuffer(key * (len(payload) // 4 + 1), np.uint8)[: len(payload)]
    return (np.frombuffer(payload, np.uint8) ^ mask).tobytes()


def build_close(code: int | None = None, reason: bytes = b"") -> bytes:
    """Return a close frame, or an invalid one."""
    return build_frame(CLOSE, reason if code is None else struct.pack("!H", code) + reason)


def build_fragments(opcode: int, payload: bytes, size: int) -> Iterator[bytes]:
    """Yield a message in frames of ``size`` bytes."""
    for start in range(0, len(payload), size):
        last = start + size >= len(payload)
        yield build_frame(CONT if start else opcode, payload[start : start + size], fin=last)


class RawWebSocket:
    """A connection to a server; a context manager.

    Args:
        address: ``host:port``.
        path: Of the endpoint.
        headers: Added to those of a valid handshake, or replacing them; None removes one.
        request_line: The first line, without ``HTTP/1.1``; None: a valid one.
        handshake: Whether to open it and read the answer; False: only the TCP connection.
    """

    def __init__(
        self,
        address: str,
        path: str,
        headers: Mapping[str, str | None] | None = None,
        request_line: str | None = None,
        *,
        handshake: bool = True,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        #: The response to the handshake: its status, and its headers in lower case.
        self.status = 0
        self.headers: dict[str, str] = {}
        if handshake:
            self._socket.sendall(_render_handshake(address, request_line or f"GET {path}", headers or {}))
            self._read_handshake_answer()

    def send(self, *pieces: bytes) -> None:
        """Send bytes at once; a connection that the server has closed is no error."""
        try:
            self._socket.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError):
            return

    def send_message(self, **message: object) -> None:
        """Send a message of the protocol."""
        self.send(build_frame(TEXT, json.dumps(message).encode()))

    def read_frame(self) -> RawServerFrame | None:
        """Return the server's next frame, or None if it closed the connection."""
        try:
            head = self._read_exactly(2)
            size = head[1] & 0x7F
            if size > MAX_SHORT_LENGTH:
                size = int.from_bytes(self._read_exactly(2 if size == 126 else 8))
            return RawServerFrame(head[0] & 0x0F, self._read_exactly(size))
        except (EOFError, ConnectionResetError):
            return None

    def read_to_close(self) -> list[RawServerFrame]:
        """Return all frames until the server closes the connection; answer its close frame."""
        frames: list[RawServerFrame] = []
        while (one := self.read_frame()) is not None:
            frames.append(one)
            if one.opcode == CLOSE:
                self.send(build_frame(CLOSE, one.payload))
        return frames

    def read_until(self, kind: str) -> dict[str, Any]:
        """Return the server's next message of type ``kind``; fail if the connection closes before."""
        while (one := self.read_frame()) is not None:
            if one.opcode == TEXT and one.json["type"] == kind:
                return one.json
        raise AssertionError(f"closed before any {kind!r}")

    def reset_connection(self) -> None:
        """Reset the connection: no close frame, no FIN."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            more = self._socket.recv(65_536)
            if not more:
                raise EOFError
            self._received += more
        piece, self._received = self._received[:size], self._received[size:]
        return piece

    def _read_handshake_answer(self) -> None:
        while b"\r\n\r\n" not in self._received:
            more = self._socket.recv(4096)
            if not more:
                return
            self._received += more
        head, self._received = self._received.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }


def _render_handshake(address: str, request: str, headers: Mapping[str, str | None]) -> bytes:
    proper: dict[str, str | None] = {
        "Host": address,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    }
    lines = [f"{name}: {value}" for name, value in {**proper, **headers}.items() if value is not None]
    return "\r\n".join([f"{request} HTTP/1.1", *lines, "", ""]).encode()

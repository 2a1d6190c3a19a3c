"""Many streams in real time from one cheap process: frames made beforehand, raw sockets."""

import asyncio
import heapq
import json
import math
import struct
import time
from array import array
from base64 import b64encode
from collections.abc import Sequence
from functools import partial
from os import urandom
from urllib.parse import urlsplit

import numpy as np

from echoic.engines.scripted import VOCABULARY, draw_words
from tools.benchmarks.clients import CHUNK, RATE, STEP
from tools.benchmarks.load_results import LoadResult

#: Seconds of audio in a message, and in a word with the gap after it.
MESSAGE, WORD = 0.1, 0.4
_TIMEOUT_SECONDS = 60.0
#: WebSocket opcodes.
TEXT, BINARY, _CLOSE = 1, 2, 8
_CONFIG = b'{"type":"config","model":"scripted"}'
_COMMIT = b'{"type":"commit"}'


def build_client_frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's WebSocket frame (RFC 6455, section 5.2), masked with zeros, which costs nothing."""
    size = len(payload)
    form = (size > 125) + (size > 65_535)
    length = (size, 126, 127)[form]
    head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    return head + (b"", struct.pack("!H", size & 0xFFFF), struct.pack("!Q", size))[form] + bytes(4) + payload


class _ClientProtocol(asyncio.Protocol):
    """A minimal WebSocket client."""

    def __init__(self, address: str, path: str, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.first_word = number * 7 % len(VOCABULARY)
        self.sent = array("d")
        self.finals: dict[int, float] = {}
        self.partials: list[float] = []
        self.texts: list[str] = []
        self._request = build_handshake(address, path)
        self._received = bytearray()
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # a TCP connection writes
        self.transport = transport
        transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        for waits in (self.ready, self.done):
            if not waits.done():
                waits.set_exception(ConnectionResetError("the server closed a stream"))

    def send_audio(self, data: bytes) -> None:
        """Send the next message of audio."""
        self.sent.append(time.perf_counter())
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._received += data
        if not self._upgraded:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            self._upgraded, self._received = True, bytearray(rest)
            if not head.startswith(b"HTTP/1.1 101"):
                self.transport.close()
            self.transport.write(build_client_frame(TEXT, _CONFIG))
        while (frame := self._pop_frame()) is not None:
            self._on_frame(frame, now)

    def _pop_frame(self) -> bytes | None:
        got = self._received
        if len(got) < 4:
            return None
        size, start = got[1], 2
        if size == 126:
            size, start = int.from_bytes(got[2:4]), 4
        elif size == 127:
            size, start = (int.from_bytes(got[2:10]), 10) if len(got) >= 10 else (2**60, 10)
        if len(got) < start + size:
            return None
        payload = bytes(got[start : start + size]) if got[0] == 0x80 | TEXT else b""
        del got[: start + size]
        return payload

    def _on_frame(self, frame: bytes, now: float) -> None:
        if frame.startswith(b'{"type":"partial"'):
            self.partials.append(now - self._find_send_time(_parse_number_after(b'"segment_end":', frame)))
        elif frame.startswith(b'{"type":"final"'):
            end = _parse_number_after(b'"segment_end":', frame)
            self.finals[round(end * 1000)] = now
            self.texts.append(str(json.loads(frame)["text"]))
        elif b'"configured"' in frame and not self.ready.done():
            self.ready.set_result(None)
        elif frame.startswith(b'{"type":"full_transcript"') and not self.done.done():
            self.done.set_result(None)

    def _find_send_time(self, end: float) -> float:
        return self.sent[min(len(self.sent), max(1, math.ceil(end / MESSAGE - 1e-6))) - 1]

    def add_to_result(self, result: LoadResult) -> None:
        """Add the client's counts to the result."""
        seconds = len(self.sent) * MESSAGE
        windows = max(0, math.floor((seconds - CHUNK) / STEP + 1e-6) + 1)
        for end in (CHUNK + STEP * number for number in range(windows)):
            arrived = self.finals.get(round(end * 1000))
            result.add_final(end, None if arrived is None else arrived - self._find_send_time(end))
        result.partials += self.partials
        words = [VOCABULARY[(self.first_word + n) % len(VOCABULARY)] for n in range(round(seconds / WORD))]
        result.wrong += " ".join(filter(None, self.texts)) != " ".join(words)


async def run_streams(url: str, streams: int, seconds: float) -> LoadResult:
    """Stream in real time and return what the clients measured.

    The streams start spread over one step of the windows, so that their windows do not end together.

    Args:
        url: The stream endpoint.
        streams: Number of streams at the same time.
        seconds: Length of each stream, rounded up to whole words.
    """
    seconds = math.ceil(seconds / WORD) * WORD
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    clients: list[_ClientProtocol] = []
    for number in range(streams):
        build = partial(_ClientProtocol, parts.netloc, parts.path, number)
        _, client = await loop.create_connection(build, parts.hostname or "", parts.port or 80)
        clients.append(client)
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        await asyncio.gather(*(client.ready for client in clients))
    result = LoadResult()
    began, used = time.perf_counter(), time.process_time()
    await _send_audio(clients, round(seconds / MESSAGE), result)
    result.cpu = (time.process_time() - used) / (time.perf_counter() - began)
    for client in clients:
        client.transport.write(build_client_frame(TEXT, _COMMIT))
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        ends = await asyncio.gather(*(client.done for client in clients), return_exceptions=True)
    result.lost = sum(isinstance(end, BaseException) for end in ends)
    for client in clients:
        client.add_to_result(result)
        client.transport.write(build_client_frame(_CLOSE, b"\x03\xe8"))
        client.transport.close()
    return result


async def _send_audio(clients: Sequence[_ClientProtocol], messages: int, result: LoadResult) -> None:
    frames = _build_audio_frames()
    per_word = round(WORD / MESSAGE)
    begin = time.perf_counter() + 0.05
    due = [(begin + STEP * number / len(clients), number, 0) for number in range(len(clients))]
    heapq.heapify(due)
    while due:
        moment, number, sent = due[0]
        now = time.perf_counter()
        if moment > now:
            await asyncio.sleep(moment - now)
            continue
        result.late.append(now - moment)
        client = clients[number]
        client.send_audio(frames[(client.first_word * per_word + sent) % len(frames)])
        if sent + 1 < messages:
            heapq.heapreplace(due, (moment + MESSAGE, number, sent + 1))
        else:
            heapq.heappop(due)


def _build_audio_frames() -> list[bytes]:
    """Return the audio of the whole vocabulary as messages, to be repeated in a circle."""
    audio = draw_words(VOCABULARY).astype("<f4")
    pieces = np.split(audio, round(len(audio) / RATE / MESSAGE))
    return [build_client_frame(BINARY, piece.tobytes()) for piece in pieces]


def build_handshake(address: str, path: str) -> bytes:
    """Return the HTTP request that opens a WebSocket (RFC 6455, section 4.1).

    Args:
        address: ``host:port``.
        path: Path of the endpoint.
    """
    key = b64encode(urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _parse_number_after(key: bytes, frame: bytes) -> float:
    rest = frame[frame.index(key) + len(key) :]
    return float(rest[: min(at for at in (rest.find(b","), rest.find(b"}")) if at >= 0)])

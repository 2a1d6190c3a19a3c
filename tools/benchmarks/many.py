"""Many streams in real time, from one process that costs little: frames made beforehand, sockets by hand."""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import struct
import time
from array import array
from base64 import b64encode
from dataclasses import dataclass, field
from functools import partial
from os import urandom
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from echoic.engines.scripted import VOCABULARY, draw_words
from tools.benchmarks.streams import CHUNK, RATE, STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds of audio in a message, and in a word with its gap.
MESSAGE, WORD = 0.1, 0.4
_PATIENCE = 60.0
_TEXT, _BINARY, _CLOSE = 1, 2, 8
_CONFIG = b'{"type":"config","model":"scripted"}'
_COMMIT = b'{"type":"commit"}'


@dataclass(slots=True)
class LoadResult:
    """What came of all streams; times in seconds.

    Attributes:
        finals: From the message that completed a window to its final.
        partials: From the message that a partial hears last to the partial.
        late: By how much later than due the generator itself sent its messages.
        due: Windows that were completed.
        missed: Those of them that brought no final.
        wrong: Streams whose transcript is not what was spoken.
        lost: Streams that the server closed.
        cpu: Processor time of the generator, for each second.
    """

    finals: list[float] = field(default_factory=list)
    partials: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    due: int = 0
    missed: int = 0
    wrong: int = 0
    lost: int = 0
    cpu: float = 0.0

    def __add__(self, other: LoadResult) -> LoadResult:
        """Return both together."""
        return LoadResult(
            self.finals + other.finals,
            self.partials + other.partials,
            self.late + other.late,
            self.due + other.due,
            self.missed + other.missed,
            self.wrong + other.wrong,
            self.lost + other.lost,
            (self.cpu + other.cpu) / 2,
        )


def build_client_frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's WebSocket frame (RFC 6455, section 5.2), masked with zeros: nothing to compute."""
    size = len(payload)
    form = (size > 125) + (size > 65_535)
    length = (size, 126, 127)[form]
    head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    return head + (b"", struct.pack("!H", size & 0xFFFF), struct.pack("!Q", size))[form] + bytes(4) + payload


class _ClientProtocol(asyncio.Protocol):
    """One client, as little of one as will do."""

    def __init__(self, place: str, path: str, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.first_word = number * 7 % len(VOCABULARY)
        self.sent = array("d")
        self.finals: dict[int, float] = {}
        self.partials: list[float] = []
        self.texts: list[str] = []
        self._request = _build_handshake(place, path)
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
            self.transport.write(build_client_frame(_TEXT, _CONFIG))
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
        payload = bytes(got[start : start + size]) if got[0] == 0x80 | _TEXT else b""
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

    def add_to_result(self, outcome: LoadResult) -> None:
        """Add what came of it."""
        heard = len(self.sent) * MESSAGE
        windows = [CHUNK + STEP * n for n in range(max(0, math.floor((heard - CHUNK) / STEP + 1e-6) + 1))]
        outcome.due += len(windows)
        for end in windows:
            came = self.finals.get(round(end * 1000))
            if came is None:
                outcome.missed += 1
            else:
                outcome.finals.append(came - self._find_send_time(end))
        outcome.partials += self.partials
        words = [VOCABULARY[(self.first_word + n) % len(VOCABULARY)] for n in range(round(heard / WORD))]
        outcome.wrong += " ".join(filter(None, self.texts)) != " ".join(words)


async def run_streams(url: str, streams: int, seconds: float) -> LoadResult:
    """Stream so many at the same time in real time, each for so long, and return what came of them.

    They begin one after another within the time of a window, so that their windows do not end together.
    """
    seconds = math.ceil(seconds / WORD) * WORD
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    all_of_them: list[_ClientProtocol] = []
    for number in range(streams):
        make = partial(_ClientProtocol, parts.netloc, parts.path, number)
        _, stream = await loop.create_connection(make, parts.hostname or "", parts.port or 80)
        all_of_them.append(stream)
    async with asyncio.timeout(_PATIENCE):
        await asyncio.gather(*(stream.ready for stream in all_of_them))
    outcome = LoadResult()
    began, used = time.perf_counter(), time.process_time()
    await _send_audio(all_of_them, round(seconds / MESSAGE), outcome)
    outcome.cpu = (time.process_time() - used) / (time.perf_counter() - began)
    for stream in all_of_them:
        stream.transport.write(build_client_frame(_TEXT, _COMMIT))
    async with asyncio.timeout(_PATIENCE):
        ends = await asyncio.gather(*(stream.done for stream in all_of_them), return_exceptions=True)
    outcome.lost = sum(isinstance(end, BaseException) for end in ends)
    for stream in all_of_them:
        stream.add_to_result(outcome)
        stream.transport.write(build_client_frame(_CLOSE, b"\x03\xe8"))
        stream.transport.close()
    return outcome


async def _send_audio(streams: Sequence[_ClientProtocol], messages: int, outcome: LoadResult) -> None:
    frames = _build_audio_frames()
    per_word = round(WORD / MESSAGE)
    begin = time.perf_counter() + 0.05
    due = [(begin + STEP * number / len(streams), number, 0) for number in range(len(streams))]
    heapq.heapify(due)
    while due:
        moment, number, said = due[0]
        now = time.perf_counter()
        if moment > now:
            await asyncio.sleep(moment - now)
            continue
        outcome.late.append(now - moment)
        stream = streams[number]
        stream.send_audio(frames[(stream.first_word * per_word + said) % len(frames)])
        if said + 1 < messages:
            heapq.heapreplace(due, (moment + MESSAGE, number, said + 1))
        else:
            heapq.heappop(due)


def _build_audio_frames() -> list[bytes]:
    """Return the audio of the whole vocabulary as messages; one after another they may go round and round."""
    audio = draw_words(VOCABULARY).astype("<f4")
    pieces = np.split(audio, round(len(audio) / RATE / MESSAGE))
    return [build_client_frame(_BINARY, piece.tobytes()) for piece in pieces]


def _build_handshake(place: str, path: str) -> bytes:
    key = b64encode(urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def _parse_number_after(key: bytes, frame: bytes) -> float:
    rest = frame[frame.index(key) + len(key) :]
    return float(rest[: min(at for at in (rest.find(b","), rest.find(b"}")) if at >= 0)])

"""Reads audio from standard input: raw samples, or a WAV stream.

Source: Microsoft, Multimedia Programming Interface and Data Specifications 1.0, and WAVEFORMATEXTENSIBLE.
"""

import asyncio
import os
import struct
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoic.client import UnreadableAudio
from echoic.client.messages import MAX_CHANNELS, to_mono

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_SUPPORTED_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
#: Writers that do not know the length yet put a size of at least this, or zero, into the header.
_UNKNOWN_SIZE = 0x7FFFF000
#: The largest chunk before the samples, in bytes.
_MAX_CHUNK_BYTES = 2**20
#: The most bytes of one read.
_READ_BYTES = 2**16
#: The most reads that are buffered before they are sent.
_MAX_QUEUED_READS = 8
#: The first bytes of compressed files and containers.
_ENCODED_SIGNATURES = (b"ID3", b"\xff\xfb", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3", b"FORM", b".snd", b"caff")
_DECODE_HINT = "ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | echoic listen -"


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """The encoding of raw samples."""

    #: ``u8``, ``s16le``, ``s24le``, ``s32le``, ``f32le`` or ``f64le``.
    encoding: str = "s16le"
    #: Samples per second and channel.
    rate: int = 16_000
    #: The number of interleaved channels.
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return int(self.encoding.strip("usfle")) // 8 * self.channels

    def decode_samples(self, data: bytes) -> NDArray[np.float32]:
        """Decode whole frames to float32, mono, shape ``(n,)``, -1..1.

        Raises:
            UnreadableAudio: A sample is not a finite number.
        """
        if self.encoding == "s24le":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples: NDArray[np.generic] = wide.reshape(-1).view("<i4")
        else:
            kind = {"s": "i"}.get(self.encoding[0], self.encoding[0])
            samples = np.frombuffer(data, f"<{kind}{self.frame_bytes // self.channels}")
        mono = to_mono(samples.reshape(-1, self.channels))
        if not np.isfinite(mono).all():
            raise UnreadableAudio(
                f"The audio is not {self.encoding}: it contains values that are not finite."
            )
        return mono


class StdinAudio:
    """Audio from a file descriptor; the first bytes are read at once.

    Args:
        descriptor: A file descriptor that is open for reading.
        sample_format: The encoding of raw samples; ignored for a WAV stream.

    Raises:
        UnreadableAudio: The input is empty, compressed, or cannot be read.
    """

    def __init__(self, descriptor: int, sample_format: SampleFormat) -> None:
        self._descriptor = descriptor
        self._remaining_bytes: int | None = None
        self.sample_format = sample_format
        head = _read_pipe_exactly(descriptor, 12)
        if not head:
            raise UnreadableAudio("Standard input is empty.")
        if head.startswith(_ENCODED_SIGNATURES) or head[4:8] == b"ftyp":
            raise UnreadableAudio(f"Standard input is neither raw samples nor WAV. {_DECODE_HINT}")
        self._first_bytes = head
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            header = read_wave_header(lambda size: _read_pipe_exactly(descriptor, size))
            self._first_bytes, self._remaining_bytes = b"", header.data_bytes
            self.sample_format = replace(
                sample_format, encoding=_resolve_encoding(header), rate=header.rate, channels=header.channels
            )

    async def read_pieces(self) -> AsyncGenerator[NDArray[np.float32], None]:
        """Yield the audio as it arrives, with backpressure; an incomplete frame at the end is dropped.

        Yields:
            float32, shape ``(n,)``, mono, -1..1.

        Raises:
            UnreadableAudio: Reading fails, or a sample is not a finite number.
        """
        inbox: asyncio.Queue[bytes | OSError] = asyncio.Queue(_MAX_QUEUED_READS)
        # Not a thread of a pool: those are joined at exit, and a read may block forever.
        arguments = (inbox, asyncio.get_running_loop())
        threading.Thread(target=self._fill_queue, args=arguments, daemon=True, name="echoic pipe").start()
        rest, step = self._first_bytes, self.sample_format.frame_bytes
        while data := await inbox.get():
            if isinstance(data, OSError):
                raise UnreadableAudio("Reading standard input failed; the transcript ends here.") from None
            rest += data
            whole = len(rest) - len(rest) % step
            if whole:
                yield self.sample_format.decode_samples(rest[:whole])
            rest = rest[whole:]
        if len(rest) >= step:  # input shorter than a WAV header
            yield self.sample_format.decode_samples(rest[: len(rest) - len(rest) % step])

    def _fill_queue(self, inbox: asyncio.Queue[bytes | OSError], loop: asyncio.AbstractEventLoop) -> None:
        """Read to the end in a thread; waits while the queue is full."""
        data: bytes | OSError = b"-"
        while data and not isinstance(data, OSError):
            try:
                data = self._read_block()
            except OSError as error:
                data = error
            waiting = inbox.put(data)
            try:
                asyncio.run_coroutine_threadsafe(waiting, loop).result()
            except (CancelledError, RuntimeError):  # the loop has stopped reading
                waiting.close()
                return

    def _read_block(self) -> bytes:
        size = _READ_BYTES if self._remaining_bytes is None else min(_READ_BYTES, self._remaining_bytes)
        data = os.read(self._descriptor, size) if size else b""
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class WaveHeader:
    """The content of a WAV header."""

    #: Samples per second and channel.
    rate: int
    #: The number of interleaved channels.
    channels: int
    #: Bits of one sample.
    bits: int
    #: Whether samples are floating-point numbers.
    is_float: bool
    #: Bytes of samples; None: until the end of the file.
    data_bytes: int | None


def read_wave_header(read_bytes: Callable[[int], bytes]) -> WaveHeader:
    """Parse a WAV header after its first 12 bytes, up to the first sample.

    Args:
        read_bytes: Returns the given number of bytes, fewer only at the end of the file.

    Raises:
        UnreadableAudio: The header is invalid, or the samples are compressed.
    """
    wave_format: tuple[int, int, int, int] | None = None
    while True:
        name, size = struct.unpack("<4sI", _read_exactly(read_bytes, 8))
        if name == b"data":
            break
        if size > _MAX_CHUNK_BYTES:
            raise UnreadableAudio("The WAV file on standard input has a header that cannot be read.")
        body = _read_exactly(read_bytes, size + size % 2)
        if name == b"fmt ":
            wave_format = _parse_format(body)
    if wave_format is None:
        raise UnreadableAudio("The WAV file on standard input has no format chunk.")
    tag, channels, rate, bits = wave_format
    known = size if 0 < size < _UNKNOWN_SIZE else None
    return WaveHeader(rate, channels, bits, tag == _FLOAT, known)


def _parse_format(body: bytes) -> tuple[int, int, int, int]:
    try:
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if tag == _EXTENSIBLE:
            (tag,) = struct.unpack_from("<H", body, 24)
    except struct.error:
        raise UnreadableAudio("The WAV file on standard input has a header that cannot be read.") from None
    if bits not in _SUPPORTED_BITS.get(tag, ()) or not channels:
        raise UnreadableAudio("The WAV file on standard input is compressed; only PCM is supported.")
    if channels > MAX_CHANNELS:
        raise UnreadableAudio(
            f"The WAV file on standard input has {channels} channels; at most {MAX_CHANNELS} are supported."
        )
    return tag, channels, rate, bits


def _read_exactly(read_bytes: Callable[[int], bytes], size: int) -> bytes:
    data = read_bytes(size)
    if len(data) < size:
        raise UnreadableAudio("The WAV file on standard input ends within its header.")
    return data


def _resolve_encoding(header: WaveHeader) -> str:
    if header.is_float:
        return f"f{header.bits}le"
    return "u8" if header.bits == 8 else f"s{header.bits}le"  # noqa: PLR2004  # WAV stores 8 bits unsigned


def _read_pipe_exactly(descriptor: int, size: int) -> bytes:
    """Read the given number of bytes, or fewer at the end."""
    data = b""
    try:
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise UnreadableAudio(f"Standard input cannot be read: {reason}.") from None
    return data

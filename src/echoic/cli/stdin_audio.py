"""The header of a WAV file that comes through a pipe.

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
#: Sizes from here on are those of writers that do not know yet how much will come; so is zero.
_UNKNOWN_SIZE = 0x7FFFF000
#: Bytes of a chunk before the samples that are skipped at most.
_MAX_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class WaveHeader:
    """What a header says.

    Attributes:
        rate: Samples per second and channel.
        channels: How many are interleaved.
        bits: Of a sample.
        is_float: Whether samples are floats.
        data_bytes: Bytes of samples; None: to the end of the file.
    """

    rate: int
    channels: int
    bits: int
    is_float: bool
    data_bytes: int | None


def read_wave_header(read_bytes: Callable[[int], bytes]) -> WaveHeader:
    """Return the header of a file whose first 12 bytes are read; the samples come next.

    Args:
        read_bytes: Returns so many bytes of it, fewer only at its end.

    Raises:
        UnreadableAudio: It is no WAV file of plain samples.
    """
    form: tuple[int, int, int, int] | None = None
    while True:
        name, size = struct.unpack("<4sI", _read_exactly(read_bytes, 8))
        if name == b"data":
            break
        if size > _MAX_CHUNK_BYTES:
            raise UnreadableAudio("The WAV file on standard input has a header that cannot be read.")
        body = _read_exactly(read_bytes, size + size % 2)
        if name == b"fmt ":
            form = _parse_format(body)
    if form is None:
        raise UnreadableAudio("The WAV file on standard input does not say what its samples are.")
    tag, channels, rate, bits = form
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
        raise UnreadableAudio("The WAV file on standard input holds no plain samples: it is compressed.")
    if channels > MAX_CHANNELS:
        raise UnreadableAudio(
            f"The WAV file on standard input has {channels} channels; at most {MAX_CHANNELS} are heard."
        )
    return tag, channels, rate, bits


def _read_exactly(read_bytes: Callable[[int], bytes], size: int) -> bytes:
    data = read_bytes(size)
    if len(data) < size:
        raise UnreadableAudio("The WAV file on standard input ends within its header.")
    return data


#: Bytes that are read at once, at most.
_READ_BYTES = 2**16
#: Reads that may wait until they are sent.
_MAX_QUEUED_READS = 8
#: How files begin that hold no raw samples.
_ENCODED_SIGNATURES = (b"ID3", b"\xff\xfb", b"OggS", b"fLaC", b"\x1a\x45\xdf\xa3", b"FORM", b".snd", b"caff")
_DECODE_HINT = "ffmpeg -i FILE -f s16le -ar 16000 -ac 1 - | echoic listen -"


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """How samples lie in bytes.

    Attributes:
        form: ``s16le`` and its like: ``u8``, ``s24le``, ``s32le``, ``f32le``, ``f64le``.
        rate: Samples per second and channel.
        channels: How many are interleaved.
    """

    form: str = "s16le"
    rate: int = 16_000
    channels: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return int(self.form.strip("usfle")) // 8 * self.channels

    def decode_samples(self, data: bytes) -> NDArray[np.float32]:
        """Return whole samples as mono float32.

        Raises:
            UnreadableAudio: One is no finite number.
        """
        if self.form == "s24le":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples: NDArray[np.generic] = wide.reshape(-1).view("<i4")
        else:
            kind = {"s": "i"}.get(self.form[0], self.form[0])
            samples = np.frombuffer(data, f"<{kind}{self.frame_bytes // self.channels}")
        mono = to_mono(samples.reshape(-1, self.channels))
        if not np.isfinite(mono).all():
            raise UnreadableAudio(f"This is not {self.form}: it holds what are no numbers there.")
        return mono


class StdinAudio:
    """Sound from a file descriptor, which is looked into at once.

    Args:
        descriptor: Open for reading.
        sample_format: How raw samples lie in it; WAV says that itself.

    Raises:
        UnreadableAudio: Nothing comes, or something else.
    """

    def __init__(self, descriptor: int, sample_format: SampleFormat) -> None:
        self._descriptor = descriptor
        self._remaining_bytes: int | None = None
        self.sample_format = sample_format
        head = _read_pipe_exactly(descriptor, 12)
        if not head:
            raise UnreadableAudio("Nothing came over standard input.")
        if head.startswith(_ENCODED_SIGNATURES) or head[4:8] == b"ftyp":
            raise UnreadableAudio(f"Standard input is neither raw samples nor WAV. {_DECODE_HINT}")
        self._first_bytes = head
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            header = read_wave_header(lambda size: _read_pipe_exactly(descriptor, size))
            self._first_bytes, self._remaining_bytes = b"", header.data_bytes
            self.sample_format = replace(
                sample_format, form=_resolve_encoding(header), rate=header.rate, channels=header.channels
            )

    async def read_pieces(self) -> AsyncGenerator[NDArray[np.float32], None]:
        """Yield what comes, as fast as it comes and is taken; half a sample at the end is left out.

        Yields:
            float32, shape ``(n,)``, mono.

        Raises:
            UnreadableAudio: The pipe breaks, or holds what are no numbers.
        """
        inbox: asyncio.Queue[bytes | OSError] = asyncio.Queue(_MAX_QUEUED_READS)
        # No thread of a pool: nobody waits for this one, and a read may last for ever.
        arguments = (inbox, asyncio.get_running_loop())
        threading.Thread(target=self._fill_queue, args=arguments, daemon=True, name="echoic pipe").start()
        rest, step = self._first_bytes, self.sample_format.frame_bytes
        while data := await inbox.get():
            if isinstance(data, OSError):
                raise UnreadableAudio("Standard input broke off; what was heard is here.") from None
            rest += data
            whole = len(rest) - len(rest) % step
            if whole:
                yield self.sample_format.decode_samples(rest[:whole])
            rest = rest[whole:]
        if len(rest) >= step:  # of a file that is shorter than a header
            yield self.sample_format.decode_samples(rest[: len(rest) - len(rest) % step])

    def _fill_queue(self, inbox: asyncio.Queue[bytes | OSError], loop: asyncio.AbstractEventLoop) -> None:
        """Read to the end, as far as there is room for it."""
        data: bytes | OSError = b"begins"
        while data and not isinstance(data, OSError):
            try:
                data = self._read_block()
            except OSError as error:
                data = error
            waiting = inbox.put(data)
            try:
                asyncio.run_coroutine_threadsafe(waiting, loop).result()
            except (CancelledError, RuntimeError):  # nobody listens any more
                waiting.close()
                return

    def _read_block(self) -> bytes:
        size = _READ_BYTES if self._remaining_bytes is None else min(_READ_BYTES, self._remaining_bytes)
        data = os.read(self._descriptor, size) if size else b""
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
        return data


def _resolve_encoding(header: WaveHeader) -> str:
    if header.is_float:
        return f"f{header.bits}le"
    return "u8" if header.bits == 8 else f"s{header.bits}le"  # noqa: PLR2004  # bits of a byte


def _read_pipe_exactly(descriptor: int, size: int) -> bytes:
    """Return so many bytes, or fewer at the end."""
    data = b""
    try:
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
    except OSError as error:
        reason = (error.strerror or "no reason given").lower()
        raise UnreadableAudio(f"Standard input cannot be read: {reason}.") from None
    return data

"""The header of a WAV file that comes through a pipe.

Source: Microsoft, Multimedia Programming Interface and Data Specifications 1.0, and WAVEFORMATEXTENSIBLE.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from echoic.client import UnreadableAudio
from echoic.client.outgoing import MAX_CHANNELS

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

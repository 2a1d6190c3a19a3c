"""The header of a WAV file that comes through a pipe.

Source: Microsoft, Multimedia Programming Interface and Data Specifications 1.0, and WAVEFORMATEXTENSIBLE.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from echoic.client import UnreadableAudio
from echoic.client.outgoing import MOST_CHANNELS

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
#: Sizes from here on are those of writers that do not know yet how much will come; so is zero.
_UNKNOWN = 0x7FFFF000
#: Bytes of a chunk before the samples that are skipped at most.
_LONGEST = 2**20


@dataclass(frozen=True, slots=True)
class WaveHeader:
    """What a header says.

    Attributes:
        rate: Samples per second and channel.
        channels: How many are interleaved.
        bits: Of a sample.
        is_float: Whether samples are floats.
        size: Bytes of samples; None: to the end of the file.
    """

    rate: int
    channels: int
    bits: int
    is_float: bool
    size: int | None


def read_header(read: Callable[[int], bytes]) -> WaveHeader:
    """Return the header of a file whose first 12 bytes are read; the samples come next.

    Args:
        read: Returns so many bytes of it, fewer only at its end.

    Raises:
        UnreadableAudio: It is no WAV file of plain samples.
    """
    form: tuple[int, int, int, int] | None = None
    while True:
        name, size = struct.unpack("<4sI", _whole(read, 8))
        if name == b"data":
            break
        if size > _LONGEST:
            raise UnreadableAudio("The WAV file on standard input has a header that cannot be read.")
        body = _whole(read, size + size % 2)
        if name == b"fmt ":
            form = _format(body)
    if form is None:
        raise UnreadableAudio("The WAV file on standard input does not say what its samples are.")
    tag, channels, rate, bits = form
    known = size if 0 < size < _UNKNOWN else None
    return WaveHeader(rate, channels, bits, tag == _FLOAT, known)


def _format(body: bytes) -> tuple[int, int, int, int]:
    try:
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
        if tag == _EXTENSIBLE:
            (tag,) = struct.unpack_from("<H", body, 24)
    except struct.error:
        raise UnreadableAudio("The WAV file on standard input has a header that cannot be read.") from None
    if bits not in _BITS.get(tag, ()) or not channels:
        raise UnreadableAudio("The WAV file on standard input holds no plain samples: it is compressed.")
    if channels > MOST_CHANNELS:
        raise UnreadableAudio(
            f"The WAV file on standard input has {channels} channels; at most {MOST_CHANNELS} are heard."
        )
    return tag, channels, rate, bits


def _whole(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) < size:
        raise UnreadableAudio("The WAV file on standard input ends within its header.")
    return data

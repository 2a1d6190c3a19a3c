"""Any audio or video file as samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError, InvalidDataError

from echoic.errors import UnreadableAudio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

__all__ = ["UnreadableAudio", "audio_seconds", "read_audio"]

#: Seconds by which a file's own clock may run ahead of its samples before silence is put between.
_GAP = 0.1
#: ``av.time_base`` of a container's times: ticks per second.
_TICKS = 1_000_000
_STEREO = 2


def read_audio(
    source: Path | str | BinaryIO, rate: int = 16_000, chunk: float = 0.5
) -> Iterator[NDArray[np.float32]]:
    """Return a file's first audio track in pieces; no more than a piece or two is held in memory.

    Where the track begins late or has a gap there is silence, so that a sample's place is its time in
    the file. Damaged packets are left out.

    Args:
        source: Any audio or video file that FFmpeg reads: its path, or the file open for reading bytes, which
            stays open.
        rate: Samples per second that are wanted.
        chunk: Seconds of a piece; only the last is shorter.

    Returns:
        Pieces: float32, shape ``(n,)``, mono, -1..1.

    Raises:
        UnreadableAudio: The file cannot be opened or has no audio; while iterating: nothing of the
            track can be decoded.
    """
    name = _name(source)
    container, track = _open(source, name)
    return _pieces(_samples(name, container, track, rate), round(chunk * rate))


def audio_seconds(path: Path | str) -> float | None:
    """Return the length of a file in seconds as it says itself, or None if it does not say.

    Raises:
        UnreadableAudio: As ``read_audio``.
    """
    container, _ = _open(path, str(path))
    with container:
        return container.duration / _TICKS if container.duration else None


def _name(source: Path | str | BinaryIO) -> str:
    """Return what a file is called in a sentence."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "The open file"


def _open(source: Path | str | BinaryIO, name: str) -> tuple[InputContainer, AudioStream]:
    try:
        if isinstance(source, str | Path):
            with Path(source).open("rb"):  # the system's reasons (missing, a folder, not allowed) come first
                container = av.open(f"file:{source}", "r", metadata_errors="ignore")
        else:
            container = av.open(source, "r", metadata_errors="ignore")
    except FFmpegError:
        raise UnreadableAudio(f"{name} is not an audio or video file.") from None
    except OSError as error:
        raise UnreadableAudio(
            f"{name} cannot be opened: {(error.strerror or 'no reason given').lower()}."
        ) from None
    if not container.streams.audio:
        container.close()
        raise UnreadableAudio(f"{name} has no audio track.")
    return container, container.streams.audio[0]


def _samples(
    name: str, container: InputContainer, track: AudioStream, rate: int
) -> Iterator[NDArray[np.float32]]:
    clock, heard, mixer = _Clock(container), False, _Mixer(rate)
    with container:
        for frame in _decoded(container, track):
            heard = True
            yield np.zeros(round(clock.gap_before(frame) * rate), np.float32)
            yield from mixer.take(frame)
        if not heard:
            raise UnreadableAudio(f"{name} has an audio track, but nothing of it can be decoded.")
        yield from mixer.rest()


def _decoded(container: InputContainer, track: AudioStream) -> Iterator[AudioFrame]:
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except InvalidDataError:
            continue
        except FFmpegError:
            return  # the file ends in the middle: what came before counts
        yield from (frame for frame in frames if isinstance(frame, AudioFrame))


class _Clock:
    """Compares a file's times with the samples that came."""

    def __init__(self, container: InputContainer) -> None:
        self._start = (container.start_time or 0) / _TICKS
        self._longest = (container.duration or 0) / _TICKS
        self._at = 0.0

    def gap_before(self, frame: AudioFrame) -> float:
        """Return the seconds that are missing before ``frame``, and count it."""
        late = 0.0 if frame.time is None else frame.time - self._start - self._at
        gap = late if _GAP < late <= self._longest - self._at else 0.0
        self._at += gap + frame.samples / frame.sample_rate
        return gap


class _Mixer:
    """Frames of any format to mono at one rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._shape: tuple[object, ...] = ()
        self._resampler: AudioResampler | None = None

    def take(self, frame: AudioFrame) -> Iterator[NDArray[np.float32]]:
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        if shape != self._shape:  # the first frame, or a track that changes on its way
            yield from self.rest()
            # Surround sound is left to FFmpeg, which knows where speech is in it. Two channels are not:
            # it would add them up, and here they are averaged.
            layout = "stereo" if frame.layout.nb_channels > _STEREO else None
            self._shape = shape
            self._resampler = AudioResampler(format="fltp", layout=layout, rate=self._rate)
        frame.pts = None  # the resampler would take the file's jumps for its own
        yield from self._mixed(frame)

    def rest(self) -> Iterator[NDArray[np.float32]]:
        yield from self._mixed(None)

    def _mixed(self, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
        for out in self._resampler.resample(frame) if self._resampler else ():
            channels = np.asarray(out.to_ndarray(), np.float32)
            mono: NDArray[np.float32] = channels.mean(axis=0, dtype=np.float32)
            yield np.clip(mono, -1.0, 1.0)


def _pieces(samples: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    rest = np.zeros(0, np.float32)
    for more in samples:
        rest = np.concatenate((rest, more))
        whole = len(rest) - len(rest) % size
        for start in range(0, whole, size):
            yield rest[start : start + size]
        rest = rest[whole:]
    if len(rest):
        yield rest

"""Decodes any audio or video file to mono samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from numpy.typing import NDArray

from echoic.errors import UnreadableAudio

__all__ = ["UnreadableAudio", "read_audio", "read_audio_seconds"]

#: Seconds by which the times in a file may run ahead of its samples before silence fills the gap.
_MIN_GAP_SECONDS = 0.1
#: Ticks per second of a container's times (``av.time_base``).
_TICKS_PER_SECOND = 1_000_000
_STEREO_CHANNELS = 2


def read_audio(
    source: Path | str | BinaryIO, sample_rate: int = 16_000, chunk_seconds: float = 0.5
) -> Iterator[NDArray[np.float32]]:
    """Decode the first audio track of a file in chunks; at most two chunks are in memory.

    Silence fills a late start and gaps, so the position of a sample is its time in the file. Damaged packets
    are skipped.

    Args:
        source: Any audio or video file that FFmpeg reads: its path, or the file open for reading bytes, which
            stays open.
        sample_rate: Sample rate of the result, in Hz.
        chunk_seconds: Seconds of a chunk; only the last is shorter.

    Returns:
        Chunks: float32, shape ``(n,)``, mono, -1..1.

    Raises:
        UnreadableAudio: The file cannot be opened or has no audio; while iterating: nothing of the
            track can be decoded.
    """
    name = _describe_source(source)
    container, track = _open_audio_track(source, name)
    return _rechunk_samples(
        _decode_samples(name, container, track, sample_rate), round(chunk_seconds * sample_rate)
    )


def read_audio_seconds(path: Path | str) -> float | None:
    """Return the length of a file in seconds as its header says, or None if it does not.

    Raises:
        UnreadableAudio: As ``read_audio``.
    """
    container, _ = _open_audio_track(path, str(path))
    with container:
        return container.duration / _TICKS_PER_SECOND if container.duration else None


def _describe_source(source: Path | str | BinaryIO) -> str:
    """Return the name of a file for messages."""
    if isinstance(source, str | Path):
        return str(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "The open file"


def _open_audio_track(source: Path | str | BinaryIO, name: str) -> tuple[InputContainer, AudioStream]:
    try:
        if isinstance(source, str | Path):
            with Path(source).open("rb"):  # for the system's reasons: missing, a folder, not allowed
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


def _decode_samples(
    name: str, container: InputContainer, track: AudioStream, rate: int
) -> Iterator[NDArray[np.float32]]:
    clock, heard, mixer = _GapDetector(container), False, _MonoResampler(rate)
    with container:
        for frame in _decode_frames(container, track):
            heard = True
            yield np.zeros(round(clock.measure_gap(frame) * rate), np.float32)
            yield from mixer.push_frame(frame)
        if not heard:
            raise UnreadableAudio(f"{name} has an audio track, but nothing of it can be decoded.")
        yield from mixer.flush()


def _decode_frames(container: InputContainer, track: AudioStream) -> Iterator[AudioFrame]:
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
            return  # the file is truncated: keep what was decoded
        yield from (frame for frame in frames if isinstance(frame, AudioFrame))


class _GapDetector:
    """Finds gaps: compares the times of frames with the number of samples before them."""

    def __init__(self, container: InputContainer) -> None:
        self._start = (container.start_time or 0) / _TICKS_PER_SECOND
        self._duration = (container.duration or 0) / _TICKS_PER_SECOND
        self._position = 0.0

    def measure_gap(self, frame: AudioFrame) -> float:
        """Return the seconds missing before a frame, and count its samples."""
        late = 0.0 if frame.time is None else frame.time - self._start - self._position
        gap = late if _MIN_GAP_SECONDS < late <= self._duration - self._position else 0.0
        self._position += gap + frame.samples / frame.sample_rate
        return gap


class _MonoResampler:
    """Converts frames of any format to mono at one rate."""

    def __init__(self, rate: int) -> None:
        self._sample_rate = rate
        self._input_format: tuple[object, ...] = ()
        self._resampler: AudioResampler | None = None

    def push_frame(self, frame: AudioFrame) -> Iterator[NDArray[np.float32]]:
        shape = (frame.sample_rate, frame.layout.name, frame.format.name)
        if shape != self._input_format:  # the first frame, or a track whose format changes
            yield from self.flush()
            # FFmpeg mixes surround sound to stereo, since it knows the channel of speech. Stereo is averaged
            # here: FFmpeg would add the channels.
            layout = "stereo" if frame.layout.nb_channels > _STEREO_CHANNELS else None
            self._input_format = shape
            self._resampler = AudioResampler(format="fltp", layout=layout, rate=self._sample_rate)
        frame.pts = None  # the resampler would fill jumps in time itself
        yield from self._resample_frame(frame)

    def flush(self) -> Iterator[NDArray[np.float32]]:
        yield from self._resample_frame(None)

    def _resample_frame(self, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
        for out in self._resampler.resample(frame) if self._resampler else ():
            channels = np.asarray(out.to_ndarray(), np.float32)
            mono: NDArray[np.float32] = channels.mean(axis=0, dtype=np.float32)
            yield np.clip(mono, -1.0, 1.0)


def _rechunk_samples(samples: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    rest = np.zeros(0, np.float32)
    for more in samples:
        rest = np.concatenate((rest, more))
        whole = len(rest) - len(rest) % size
        for start in range(0, whole, size):
            yield rest[start : start + size]
        rest = rest[whole:]
    if len(rest):
        yield rest

"""The sound that is looked at: the new piece with what was heard before it, and where there is speech."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE, DiarizationChunk

#: Seconds by which a piece may begin beside the end of the one before it: places are rounded to other rates.
_MAX_GAP_SECONDS = 0.005
_FULL_SCALE = 32_768.0
#: A time from where to where, in seconds.
TimeSpan = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RecentAudio:
    """The last seconds of what was heard.

    Attributes:
        audio: int16, shape ``(n,)``, mono, 16 kHz; read-only.
        end: Seconds on the session's clock at which it ends.
        analyzed_until: The same, up to which it was looked at; what follows is part of the next piece.
        speech_spans: Where there is speech in it; in order.
    """

    audio: NDArray[np.int16]
    end: float
    analyzed_until: float
    speech_spans: tuple[TimeSpan, ...]


@dataclass(frozen=True, slots=True)
class AnalysisWindow:
    """A piece of sound with what was heard just before it.

    Attributes:
        audio: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
        origin: Seconds on the session's clock of its first sample.
        new_start: Where what is new begins: the piece, or those before it that were too short.
        speech_spans: Where there is speech, as it was told; in order.
    """

    audio: NDArray[np.float32]
    origin: float
    new_start: float
    speech_spans: tuple[TimeSpan, ...]

    @property
    def end(self) -> float:
        """Where the new piece ends."""
        return self.origin + self.audio.size / DIARIZATION_SAMPLE_RATE

    @property
    def has_new_speech(self) -> bool:
        """Whether there is speech in the new piece."""
        return any(end > self.new_start for _, end in self.speech_spans)

    def crop_to_last(self, seconds: float) -> AnalysisWindow:
        """Return its last seconds, or more if the new piece is longer than that."""
        keep = round(max(seconds, self.end - self.new_start) * DIARIZATION_SAMPLE_RATE)
        audio = self.audio[-keep:] if keep else self.audio
        return replace(self, audio=audio, origin=self.end - audio.size / DIARIZATION_SAMPLE_RATE)

    def keep_recent(self, seconds: float, *, is_deferred: bool = False) -> RecentAudio:
        """Return its last seconds for the next piece, of which the new piece is part if it ``is_deferred``."""
        kept = self.audio[-round(seconds * DIARIZATION_SAMPLE_RATE) :] * _FULL_SCALE
        audio = np.clip(np.rint(kept), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        audio.setflags(write=False)
        origin = self.end - audio.size / DIARIZATION_SAMPLE_RATE
        spoken = tuple((max(begin, origin), end) for begin, end in self.speech_spans if end > origin)
        return RecentAudio(audio, self.end, self.new_start if is_deferred else self.end, spoken)


def build_analysis_window(chunk: DiarizationChunk, recent: RecentAudio | None) -> AnalysisWindow:
    """Return the piece together with what went before, if that ended where it begins."""
    spoken = tuple(
        (chunk.start + begin / DIARIZATION_SAMPLE_RATE, chunk.start + end / DIARIZATION_SAMPLE_RATE)
        for begin, end in chunk.speech_spans
    )
    if recent is None or abs(recent.end - chunk.start) > _MAX_GAP_SECONDS:
        return AnalysisWindow(chunk.audio, chunk.start, chunk.start, spoken)
    earlier = recent.audio.astype(np.float32) / np.float32(_FULL_SCALE)
    audio = np.concatenate((earlier, chunk.audio))
    origin = chunk.start - earlier.size / DIARIZATION_SAMPLE_RATE
    return AnalysisWindow(
        audio, origin, chunk.start - (recent.end - recent.analyzed_until), (*recent.speech_spans, *spoken)
    )


def split_chunk(chunk: DiarizationChunk, max_seconds: float) -> Iterator[DiarizationChunk]:
    """Yield a piece of sound in bits of equal length, at least one."""
    size = chunk.audio.size
    count = max(1, -(-size // round(max_seconds * DIARIZATION_SAMPLE_RATE)))
    edges = [size * place // count for place in range(count + 1)]
    for first, last in pairwise(edges):
        speech = tuple(
            (max(begin, first) - first, min(end, last) - first)
            for begin, end in chunk.speech_spans
            if begin < last and end > first
        )
        start = chunk.start + first / DIARIZATION_SAMPLE_RATE
        done = chunk.is_last and last == size
        yield replace(chunk, audio=chunk.audio[first:last], start=start, speech_spans=speech, is_last=done)

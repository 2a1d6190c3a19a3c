"""Joins a new chunk of audio with the seconds before it, so that models see enough context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echoic.interfaces.diarizer import DIARIZATION_SAMPLE_RATE, DiarizationChunk

#: Gap between two chunks that still counts as none: positions are rounded to other sample rates.
_MAX_GAP_SECONDS = 0.005
_FULL_SCALE = 32_768.0
#: Start and end in seconds.
TimeSpan = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RecentAudio:
    """The last seconds of earlier audio."""

    #: int16, shape ``(n,)``, mono, 16 kHz; read-only.
    audio: NDArray[np.int16]
    #: Its end in seconds on the session's clock.
    end: float
    #: Where the analyzed audio ends; the rest belongs to the next chunk.
    analyzed_until: float
    #: Spans of speech in it, in order.
    speech_spans: tuple[TimeSpan, ...]


@dataclass(frozen=True, slots=True)
class AnalysisWindow:
    """A new chunk of audio with the audio just before it; times in seconds on the session's clock."""

    #: float32, shape ``(n,)``, mono, 16 kHz, -1..1.
    audio: NDArray[np.float32]
    #: Time of the first sample.
    origin: float
    #: Where the new audio begins: this chunk and earlier chunks that were too short.
    new_start: float
    #: Spans of speech, in order.
    speech_spans: tuple[TimeSpan, ...]

    @property
    def end(self) -> float:
        """The end of the new audio."""
        return self.origin + self.audio.size / DIARIZATION_SAMPLE_RATE

    @property
    def has_new_speech(self) -> bool:
        """Whether there is speech in the new audio."""
        return any(end > self.new_start for _, end in self.speech_spans)

    def crop_to_last(self, seconds: float) -> AnalysisWindow:
        """Return the last ``seconds``, or all new audio if that is longer."""
        keep = round(max(seconds, self.end - self.new_start) * DIARIZATION_SAMPLE_RATE)
        audio = self.audio[-keep:] if keep else self.audio
        return replace(self, audio=audio, origin=self.end - audio.size / DIARIZATION_SAMPLE_RATE)

    def keep_recent(self, seconds: float, *, is_deferred: bool = False) -> RecentAudio:
        """Return the last ``seconds`` for the next window; if ``is_deferred``, the new audio stays new."""
        kept = self.audio[-round(seconds * DIARIZATION_SAMPLE_RATE) :] * _FULL_SCALE
        audio = np.clip(np.rint(kept), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        audio.setflags(write=False)
        origin = self.end - audio.size / DIARIZATION_SAMPLE_RATE
        speech = tuple((max(begin, origin), end) for begin, end in self.speech_spans if end > origin)
        return RecentAudio(audio, self.end, self.new_start if is_deferred else self.end, speech)


def build_analysis_window(chunk: DiarizationChunk, recent: RecentAudio | None) -> AnalysisWindow:
    """Return the chunk joined with the audio before it, if that ends where the chunk begins."""
    speech = tuple(
        (chunk.start + begin / DIARIZATION_SAMPLE_RATE, chunk.start + end / DIARIZATION_SAMPLE_RATE)
        for begin, end in chunk.speech_spans
    )
    if recent is None or abs(recent.end - chunk.start) > _MAX_GAP_SECONDS:
        return AnalysisWindow(chunk.audio, chunk.start, chunk.start, speech)
    earlier = recent.audio.astype(np.float32) / np.float32(_FULL_SCALE)
    audio = np.concatenate((earlier, chunk.audio))
    origin = chunk.start - earlier.size / DIARIZATION_SAMPLE_RATE
    return AnalysisWindow(
        audio, origin, chunk.start - (recent.end - recent.analyzed_until), (*recent.speech_spans, *speech)
    )


def split_chunk(chunk: DiarizationChunk, max_seconds: float) -> Iterator[DiarizationChunk]:
    """Split a chunk into parts of equal length, each at most ``max_seconds``; yield at least one."""
    size = chunk.audio.size
    count = max(1, -(-size // round(max_seconds * DIARIZATION_SAMPLE_RATE)))
    edges = [size * index // count for index in range(count + 1)]
    for first, last in pairwise(edges):
        speech = tuple(
            (max(begin, first) - first, min(end, last) - first)
            for begin, end in chunk.speech_spans
            if begin < last and end > first
        )
        start = chunk.start + first / DIARIZATION_SAMPLE_RATE
        is_last = chunk.is_last and last == size
        yield replace(chunk, audio=chunk.audio[first:last], start=start, speech_spans=speech, is_last=is_last)

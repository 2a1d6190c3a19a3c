"""Speakers of a session: collects audio for the diarizer and assigns its turns to words."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoic.audio.resample import Resampler
from echoic.interfaces.diarizer import (
    DIARIZATION_SAMPLE_RATE,
    DiarizationChunk,
    DiarizationResult,
    SpeakerOptions,
    SpeakerTurn,
)
from echoic.protocol.constants import to_speaker_label
from echoic.protocol.frames import SegmentSpeaker, Speaker
from echoic.session.decoding.strategy import TimedWord
from echoic.units import rescale

#: Seconds for which turns are kept to label later words.
_TURN_HISTORY_SECONDS = 120.0
#: Maximum seconds between the middle of a word and the turn it is assigned to.
_MAX_WORD_DISTANCE = 1.0
#: Failures in a row after which diarization pauses.
_MAX_FAILURES = 3
#: Seconds of audio of the first pause; each pause is twice as long, up to the maximum, until a success.
_PAUSE_SECONDS = 30.0
_MAX_PAUSE_SECONDS = 480.0


class ChunkCollector:
    """Collects the audio of a pipeline, resampled for the diarizer.

    Args:
        rate: Samples per second of the client's audio.
        buffer_rate: Samples per second of the pipeline's buffer.
        origin: Position in the buffer at which collecting begins.
    """

    def __init__(self, rate: int, buffer_rate: int, origin: int) -> None:
        self._resampler = (
            None if buffer_rate == DIARIZATION_SAMPLE_RATE else Resampler(rate, DIARIZATION_SAMPLE_RATE)
        )
        self._buffer_rate = buffer_rate
        self._origin = origin
        self._parts: list[NDArray[np.float32]] = []
        self._taken_samples = 0

    def push_audio(self, samples: NDArray[np.float32], resampled: NDArray[np.float32]) -> None:
        """Add audio at the client's rate, and the same audio at the rate of the buffer."""
        self._parts.append(resampled if self._resampler is None else self._resampler.push(samples))

    def take_audio(self) -> tuple[NDArray[np.float32], int, int]:
        """Return the audio since the last call at 16 kHz, and its start and end in the buffer."""
        audio = np.concatenate(self._parts) if self._parts else np.empty(0, np.float32)
        audio.flags.writeable = False
        self._parts.clear()
        begin = self._to_buffer_position(self._taken_samples)
        self._taken_samples += len(audio)
        return audio, begin, self._to_buffer_position(self._taken_samples)

    def to_chunk_samples(self, position: int, begin: int) -> int:
        """Convert a position in the buffer to samples of a chunk that starts at ``begin``."""
        return rescale(position - begin, self._buffer_rate, DIARIZATION_SAMPLE_RATE)

    def _to_buffer_position(self, taken: int) -> int:
        return self._origin + rescale(taken, DIARIZATION_SAMPLE_RATE, self._buffer_rate)


@dataclass(slots=True, eq=False)
class DiarizationRequest:
    """A chunk to diarize and the state of its request."""

    tracker: SpeakerTracker
    """Speakers of the session."""
    chunk: DiarizationChunk
    """The audio, without the diarizer's state."""
    key: int | None = None
    """Key of the running request, or None."""
    is_answered: bool = False
    """Whether a result arrived."""
    has_failed: bool = False
    """Whether the request failed."""

    @property
    def is_waiting(self) -> bool:
        """Whether a result is still expected."""
        return not (self.is_answered or self.has_failed or self.tracker.is_paused(self.chunk))


@dataclass(slots=True)
class _LabeledSegment:
    id: int
    start: float
    end: float
    speaker: int


@dataclass(slots=True, eq=False)
class SpeakerTracker:
    """Speakers of a session: turns so far, the diarizer's state, and pauses after failures."""

    options: SpeakerOptions
    """Number of speakers, as far as the client knows."""
    state: object = None
    """State of the diarizer after the last chunk."""
    is_busy: bool = False
    """Whether a request is running."""
    _failures: int = 0
    _pause_count: int = 0
    _paused_until: float = 0.0
    _turns: deque[SpeakerTurn] = field(default_factory=deque)
    _seen_speakers: set[int] = field(default_factory=set)
    _segments: list[_LabeledSegment] = field(default_factory=list)
    _last_speaker: int | None = None
    _labeled_until: float = 0.0

    def is_paused(self, chunk: DiarizationChunk) -> bool:
        """Whether this chunk is skipped because the diarizer failed repeatedly."""
        return chunk.start < self._paused_until

    def start_request(self, request: DiarizationRequest, key: int) -> DiarizationChunk:
        """Mark a request as running and return its chunk with the current state and options."""
        request.key, self.is_busy = key, True
        return replace(request.chunk, state=self.state, options=self.options)

    def on_result(self, request: DiarizationRequest, result: DiarizationResult | None) -> bool:
        """Store the result of a request, or None if it failed.

        Returns:
            Whether the client is to be warned that diarization pauses.
        """
        self.is_busy, request.is_answered = False, result is not None
        if result is None:
            self._record_failure(request)
            return self._failures == 0 and self._pause_count == 1
        self._failures = self._pause_count = 0
        self.state = result.state
        self._turns.extend(result.turns)
        self._seen_speakers.update(turn.speaker for turn in result.turns)
        while self._turns and self._turns[0].end < request.chunk.start - _TURN_HISTORY_SECONDS:
            self._turns.popleft()
        return False

    def _record_failure(self, request: DiarizationRequest) -> None:
        request.has_failed = True
        self._failures += 1
        if self._failures == _MAX_FAILURES:
            self._paused_until = request.chunk.start + min(
                _PAUSE_SECONDS * 2**self._pause_count, _MAX_PAUSE_SECONDS
            )
            self._failures, self._pause_count = 0, self._pause_count + 1

    def label_words(
        self, segment_id: int, words: Sequence[TimedWord], start: float, end: float
    ) -> list[int | None]:
        """Return the speaker of each word of a final, or None if unknown.

        Args:
            segment_id: Id of the final.
            words: Its words.
            start: Start of its segment, in seconds on the session's clock.
            end: End of its segment, in seconds on the session's clock.
        """
        speakers = self._assign_speakers(words, end)
        if (speaker := find_main_speaker(speakers, words)) is not None:
            times = [time for word in words for time in (word.start, word.middle, word.end)]
            known = [time for time in times if time is not None] or [start, end]
            self._segments.append(_LabeledSegment(segment_id, min(known), max(known), speaker))
        return speakers

    def _assign_speakers(self, words: Sequence[TimedWord], until: float) -> list[int | None]:
        since, self._labeled_until = self._labeled_until, until
        speakers: list[int | None] = []
        for word in words:
            middle = word.middle
            speaker = (
                _longest_speaker(self._turns, since, until) if middle is None else self._speaker_at(middle)
            )
            self._last_speaker = self._last_speaker if speaker is None else speaker
            speakers.append(self._last_speaker)
        return speakers

    @property
    def has_unreported(self) -> bool:
        """Whether there are labeled finals that no summary contained."""
        return bool(self._segments)

    def take_summary(
        self, final_turns: Sequence[SpeakerTurn] | None
    ) -> tuple[tuple[SegmentSpeaker, ...], tuple[Speaker, ...]]:
        """Return the speakers of the finals since the last call, and all speakers of the session.

        Args:
            final_turns: Final turns of the session. If None, the labels of the finals are kept.
        """
        seen = {turn.speaker for turn in final_turns} if final_turns else self._seen_speakers
        mapped = []
        for segment in self._segments:
            final = _longest_speaker(final_turns, segment.start, segment.end) if final_turns else None
            speaker = segment.speaker if final is None else final
            mapped.append(SegmentSpeaker(segment.id, speaker, to_speaker_label(speaker)))
        self._segments.clear()
        ids = sorted(seen | {segment.speaker_id for segment in mapped})
        return tuple(mapped), tuple(Speaker(speaker, to_speaker_label(speaker)) for speaker in ids)

    def _speaker_at(self, time: float) -> int | None:
        """Return the speaker of the turn nearest to a time."""
        nearest = min(self._turns, key=lambda turn: _distance_to_turn(turn, time), default=None)
        if nearest is None or _distance_to_turn(nearest, time) > _MAX_WORD_DISTANCE:
            return None
        return nearest.speaker


def find_main_speaker(speakers: Iterable[int | None], words: Sequence[TimedWord]) -> int | None:
    """Return the speaker of most of the words, by their duration or, without times, by their number."""
    seconds: Counter[int] = Counter()
    for speaker, word in zip(speakers, words, strict=True):
        if speaker is not None:
            timed = word.start is not None and word.end is not None
            # Microseconds, since a Counter counts integers.
            seconds[speaker] += round(1e6 * ((word.end or 0.0) - (word.start or 0.0))) + 1 if timed else 1
    return max(seconds, key=lambda speaker: (seconds[speaker], -speaker)) if seconds else None


def _longest_speaker(turns: Iterable[SpeakerTurn], start: float, end: float) -> int | None:
    """Return the speaker with the most speech between two times."""
    seconds: dict[int, float] = {}
    for turn in turns:
        shared = min(turn.end, end) - max(turn.start, start)
        if shared > 0:
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + shared
    return max(seconds, key=lambda speaker: (seconds[speaker], -speaker)) if seconds else None


def _distance_to_turn(turn: SpeakerTurn, time: float) -> float:
    return max(turn.start - time, time - turn.end, 0.0)
